//! What the threads behind a log and its handles share.

use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, RwLock};

use hindcast_model::State;
use uuid::Uuid;

use crate::base::Base;
use crate::blobs::Blobs;
use crate::disk::Disk;
use crate::frame::Chain;
use crate::lock::Held;
use crate::log::{Options, Subscriber};
use crate::room::Room;
use crate::scan::Link;
use crate::stats::Counters;
use crate::store::Store;
use crate::tail::OpenSegments;

/// What durable events fold to.
pub(crate) struct Followed {
    pub(crate) state: State,
    /// Hash of the frame that ends with it.
    pub(crate) chain: Chain,
}

/// What the threads and the handles share.
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: Options,
    pub(crate) log: Uuid,
    pub(crate) epoch: u32,
    pub(crate) head: AtomicU64,
    pub(crate) followed: RwLock<Followed>,
    pub(crate) open: Arc<OpenSegments>,
    pub(crate) store: Arc<Store>,
    pub(crate) blobs: Blobs,
    pub(crate) subscribers: Mutex<Vec<Subscriber>>,
    pub(crate) queued: AtomicUsize,
    /// Submissions that were taken and have no answer yet.
    pub(crate) unanswered: AtomicUsize,
    pub(crate) counters: Counters,
    pub(crate) read_only: Option<String>,
    pub(crate) room: Room,
    /// What was removed.
    pub(crate) base: RwLock<Option<Base>>,
    /// Held while segments are removed.
    pub(crate) pruning: Mutex<()>,
    pub(crate) _held: Held,
}

/// What records are read from.
type Reading = (Arc<OpenSegments>, Arc<Store>, Option<Base>);

impl Shared {
    /// A log that was opened and ends at `link`, with the reason why it is read-only, if it is.
    pub(crate) fn new(
        (disk, options, blobs): (Arc<dyn Disk>, Options, Blobs),
        (link, state, read_only): (Link, State, Option<String>),
        ((open, store, base), held): (Reading, Held),
    ) -> Self {
        Self {
            disk,
            options,
            log: link.log,
            epoch: link.epoch,
            head: AtomicU64::new(link.next.0 - 1),
            followed: RwLock::new(Followed {
                state,
                chain: link.chain,
            }),
            open,
            store,
            blobs,
            subscribers: Mutex::default(),
            queued: AtomicUsize::new(0),
            unanswered: AtomicUsize::new(0),
            counters: Counters::default(),
            read_only,
            room: Room::default(),
            base: RwLock::new(base),
            pruning: Mutex::default(),
            _held: held,
        }
    }
}
