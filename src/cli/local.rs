//! The server that a verb speaks to when none is named: one in this process, on a free port of
//! the loopback interface, over the data directory, for as long as the verb runs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;

use actix_web::rt::System;
use tokio::sync::oneshot;

use super::arguments::Global;
use super::client::Client;
use super::directory;
use super::output::Failure;
use crate::config::Config;
use crate::startup::{self, Ended, Moment, ServeError};

/// A server in this process.
pub(crate) struct LocalServer {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<Ended, ServeError>>>,
}

/// What a verb speaks to.
pub(crate) struct Session {
    pub(crate) client: Client,
    server: Option<LocalServer>,
}

impl LocalServer {
    /// Starts a server and waits until it is ready.
    pub(crate) fn start(mut config: Config) -> Result<Self, Failure> {
        let data_dir = config.server.data_dir.clone();
        config.server.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        // The process is not only a server.
        config.supervision.process_restarts_max = 0;
        // Who runs it has its files at hand, and proves nothing by a key.
        config.access.required_on_loopback = false;
        config.server.tls_certificate_file = PathBuf::new();
        config.server.tls_key_file = PathBuf::new();
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("server".to_owned())
            .spawn(move || {
                let stopped = async {
                    // A dropped sender asks for a stop as well.
                    drop(stopped.await);
                    "the command is done"
                };
                let tell = move |moment| {
                    if let Moment::Ready(address) = moment {
                        let _heard = tell.send(address);
                    }
                };
                System::new().block_on(startup::serve((config, None), tell, stopped))
            })?;
        match told.recv() {
            Ok(address) => Ok(Self {
                address,
                stop: Some(stop),
                thread: Some(thread),
            }),
            Err(_) => Err(match thread.join() {
                Ok(Err(error)) => {
                    let advice = error.advice(&data_dir);
                    Failure::from(error).with_hint(advice)
                }
                Ok(Ok(_)) => Failure::failed("the server ended before it was ready"),
                Err(_) => Failure::failed("the server panicked"),
            }),
        }
    }

    /// Stops it in good order.
    pub(crate) fn stop(mut self) -> Result<(), Failure> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Failure> {
        drop(self.stop.take());
        match self.thread.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(_))) => Ok(()),
            Some(Ok(Err(error))) => Err(error.into()),
            Some(Err(_)) => Err(Failure::failed("the server panicked")),
        }
    }
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        if let Err(Failure::Failed { message, .. }) = self.end() {
            super::output::note(&format!("error: {message}"));
        }
    }
}

impl Session {
    /// The server that the command line names, or one in this process.
    pub(crate) fn open(global: &Global) -> Result<Self, Failure> {
        Self::over(global, |_| Ok(()))
    }

    /// The same to look at what is there: a server in this process records nothing.
    pub(crate) fn look(global: &Global) -> Result<Self, Failure> {
        Self::over(global, |config| {
            directory::check(&config.server.data_dir)?;
            "somebody only looks".clone_into(&mut config.server.safe_mode);
            Ok(())
        })
    }

    fn over(
        global: &Global,
        prepare: impl FnOnce(&mut Config) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        if let Some(url) = &global.server {
            return Ok(Self {
                client: Client::to(url, global)?.for_subject(global.subject.as_deref()),
                server: None,
            });
        }
        let mut config = global.configuration()?;
        prepare(&mut config)?;
        let server = LocalServer::start(config)?;
        Ok(Self {
            client: Client::new(&format!("http://{}", server.address))?
                .for_subject(global.subject.as_deref()),
            server: Some(server),
        })
    }

    /// Whether the server goes on after this verb.
    pub(crate) const fn is_remote(&self) -> bool {
        self.server.is_none()
    }

    /// Ends the session.
    pub(crate) fn close(self) -> Result<(), Failure> {
        self.server.map_or(Ok(()), LocalServer::stop)
    }
}
