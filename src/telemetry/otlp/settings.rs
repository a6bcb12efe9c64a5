//! Where telemetry goes: the section `[otlp]`, and the variables that OpenTelemetry defines, which
//! win over it. Nothing is sent unless one of them names an endpoint.
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>

use std::path::Path;
use std::time::Duration;

use ureq::http::Uri;
use ureq::tls::RootCerts;

use super::Signal;
use crate::config::{OtlpConfig, names_a_user};

/// Everything that sending needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// By signal; none when it is not sent.
    pub endpoints: [Option<String>; 3],
    /// By signal.
    pub headers: [Vec<(String, String)>; 3],
    /// Whom a collector is believed by, by signal; none stands for the public authorities.
    pub roots: [Option<RootCerts>; 3],
    /// Attributes of this process.
    pub resource: Vec<(String, String)>,
    /// By signal.
    pub timeouts: [Duration; 3],
    /// How long items gather before they are sent.
    pub batch: Duration,
    pub metrics_every: Duration,
    pub queue_bytes_max: usize,
    sampler: Sampler,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Sampler {
    /// A caller that says it records its trace has it recorded here too.
    parent: bool,
    ratio: f64,
}

/// A variable or key that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {message}")]
pub struct BadSetting {
    pub name: String,
    pub message: String,
}

fn bad(name: &str, message: impl Into<String>) -> BadSetting {
    BadSetting {
        name: name.to_owned(),
        message: message.into(),
    }
}

/// The environment.
type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Settings {
    /// What configuration and environment say together; none when nothing is to be sent.
    ///
    /// # Errors
    /// A variable or key makes no sense.
    pub fn read(config: &OtlpConfig, variable: Variables<'_>) -> Result<Option<Self>, BadSetting> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let disabled = variable("OTEL_SDK_DISABLED");
        if disabled.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let configured = [config.traces, config.logs, config.metrics];
        let mut endpoints = [None, None, None];
        for (place, (signal, configured)) in endpoints
            .iter_mut()
            .zip(Signal::ALL.into_iter().zip(configured))
        {
            *place = endpoint(config, signal, configured, &variable)?;
        }
        if endpoints.iter().all(Option::is_none) {
            return Ok(None);
        }
        protocol(&variable)?;
        let headers = match of_exporter(&variable, None, "HEADERS") {
            Some((name, text)) => pairs(&name, &text)?,
            None => headers_of_file(config)?,
        };
        let mut headers = [headers.clone(), headers.clone(), headers];
        for signal in Signal::ALL {
            if let Some((name, text)) = of_exporter(&variable, Some(signal), "HEADERS") {
                headers[signal as usize] = pairs(&name, &text)?;
            }
        }
        let millis = |name: &str, configured: u64| match variable(name) {
            None => Ok(Duration::from_millis(configured)),
            Some(text) => {
                let millis = text.parse().map_err(|_| bad(name, "is no number"))?;
                Ok(Duration::from_millis(millis))
            }
        };
        let timeout = millis("OTEL_EXPORTER_OTLP_TIMEOUT", config.timeout_ms)?;
        let mut timeouts = [timeout; 3];
        for signal in Signal::ALL {
            if let Some((name, _)) = of_exporter(&variable, Some(signal), "TIMEOUT") {
                timeouts[signal as usize] = millis(&name, config.timeout_ms)?;
            }
        }
        Ok(Some(Self {
            endpoints,
            headers,
            roots: roots(config, &variable)?,
            resource: resource(&variable)?,
            timeouts,
            batch: millis("OTEL_BSP_SCHEDULE_DELAY", config.batch_ms)?,
            metrics_every: millis("OTEL_METRIC_EXPORT_INTERVAL", config.metrics_interval_ms)?,
            queue_bytes_max: config.queue_bytes_max,
            sampler: sampler(config, &variable)?,
        }))
    }

    /// Whether this process sends telemetry anywhere.
    #[must_use]
    pub fn sends(config: &OtlpConfig) -> bool {
        let read = Self::read(config, &|name| std::env::var(name).ok());
        read.is_ok_and(|settings| settings.is_some())
    }

    pub(super) fn wants(&self, signal: Signal) -> bool {
        self.endpoints[signal as usize].is_some()
    }

    /// Whether a trace is sent. The same trace is judged alike everywhere, by its id.
    pub(super) fn samples(&self, trace: u128, parent_sampled: bool) -> bool {
        if self.sampler.parent && parent_sampled {
            return true;
        }
        #[expect(clippy::cast_precision_loss, reason = "a share needs no more")]
        let share = (trace & 0x00ff_ffff_ffff_ffff) as f64 / (1_u64 << 56) as f64;
        share < self.sampler.ratio
    }
}

fn endpoint(
    config: &OtlpConfig,
    signal: Signal,
    configured: bool,
    variable: Variables<'_>,
) -> Result<Option<String>, BadSetting> {
    let word = signal.word();
    let upper = word.to_uppercase();
    let exporter = format!("OTEL_{upper}_EXPORTER");
    let wanted = match variable(&exporter).as_deref() {
        None => configured,
        Some("otlp") => true,
        Some("none") => false,
        Some(_) => return Err(bad(&exporter, "is neither otlp nor none")),
    };
    let own = format!("OTEL_EXPORTER_OTLP_{upper}_ENDPOINT");
    let (name, url) = match (variable(&own), variable("OTEL_EXPORTER_OTLP_ENDPOINT")) {
        // The one of a signal is taken as it is.
        (Some(url), _) => (own.as_str(), Some(url)),
        (None, Some(base)) => ("OTEL_EXPORTER_OTLP_ENDPOINT", Some(below(&base, word))),
        (None, None) if config.endpoint.is_empty() => ("otlp.endpoint", None),
        (None, None) => ("otlp.endpoint", Some(below(&config.endpoint, word))),
    };
    let known = |url: &String| url.starts_with("http://") || url.starts_with("https://");
    if url.as_ref().is_some_and(|url| !known(url)) {
        return Err(bad(name, "has to begin with http:// or https://"));
    }
    let is_wrong = |url: &String| url.parse::<Uri>().is_err();
    if url.as_ref().is_some_and(is_wrong) {
        return Err(bad(name, "is no URL"));
    }
    // What the environment says is kept nowhere.
    if name == "otlp.endpoint" && names_a_user(&config.endpoint) {
        let what = "a user and a password have no place in it: otlp.headers_file has headers";
        return Err(bad(name, what));
    }
    Ok(url.filter(|_| wanted))
}

fn below(base: &str, word: &str) -> String {
    format!("{}/v1/{word}", base.trim_end_matches('/'))
}

/// A variable of the exporter, or its own for a signal, with its value.
fn of_exporter(
    variable: Variables<'_>,
    signal: Option<Signal>,
    what: &str,
) -> Option<(String, String)> {
    let signal = signal.map_or(String::new(), |signal| signal.word().to_uppercase() + "_");
    let name = format!("OTEL_EXPORTER_OTLP_{signal}{what}");
    variable(&name).map(|value| (name, value))
}

fn protocol(variable: Variables<'_>) -> Result<(), BadSetting> {
    let signals = Signal::ALL.map(Some);
    for signal in [None].into_iter().chain(signals) {
        match of_exporter(variable, signal, "PROTOCOL") {
            Some((name, text)) if text != "http/protobuf" => {
                return Err(bad(&name, "only http/protobuf is spoken"));
            }
            Some(_) | None => {}
        }
    }
    Ok(())
}

/// The authorities of the collectors. A certificate of our own to show them is not known here.
fn roots(
    config: &OtlpConfig,
    variable: Variables<'_>,
) -> Result<[Option<RootCerts>; 3], BadSetting> {
    let read = |name: &str, file: &Path| {
        let found = hindcast_backup::certificates(file);
        let found = found.map_err(|why| bad(name, format!("{}: {why}", file.display())));
        found.map(Some)
    };
    let all = match of_exporter(variable, None, "CERTIFICATE") {
        Some((name, file)) => read(&name, Path::new(&file))?,
        None if config.ca_file.as_os_str().is_empty() => None,
        None => read("otlp.ca_file", &config.ca_file)?,
    };
    let mut roots = [all.clone(), all.clone(), all];
    for signal in Signal::ALL {
        if let Some((name, file)) = of_exporter(variable, Some(signal), "CERTIFICATE") {
            roots[signal as usize] = read(&name, Path::new(&file))?;
        }
    }
    for signal in [None].into_iter().chain(Signal::ALL.map(Some)) {
        for what in ["CLIENT_CERTIFICATE", "CLIENT_KEY"] {
            if let Some((name, _)) = of_exporter(variable, signal, what) {
                return Err(bad(&name, "no certificate is shown to a collector"));
            }
        }
    }
    Ok(roots)
}

fn headers_of_file(config: &OtlpConfig) -> Result<Vec<(String, String)>, BadSetting> {
    let name = "otlp.headers_file";
    if config.headers_file.as_os_str().is_empty() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(&config.headers_file);
    let text = text.map_err(|error| bad(name, error.to_string()))?;
    pairs(name, &text.trim().replace('\n', ","))
}

/// `name=value,name=value`, with values as in a URL.
fn pairs(name: &str, text: &str) -> Result<Vec<(String, String)>, BadSetting> {
    let pairs = text
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| bad(name, "is no list of name=value"))?;
        Ok((key.trim().to_owned(), decoded(value.trim())))
    });
    pairs.collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        match (first, byte) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn resource(variable: Variables<'_>) -> Result<Vec<(String, String)>, BadSetting> {
    let name = "OTEL_RESOURCE_ATTRIBUTES";
    let mut attributes = match variable(name) {
        Some(text) => pairs(name, &text)?,
        None => Vec::new(),
    };
    if let Some(service) = variable("OTEL_SERVICE_NAME") {
        attributes.retain(|(key, _)| key != "service.name");
        attributes.push(("service.name".to_owned(), service));
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    for (key, value) in [
        ("service.name", "hindcast".to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", crate::ids::uuid().to_string()),
        ("process.pid", std::process::id().to_string()),
        ("host.name", host.trim().to_owned()),
        ("telemetry.sdk.name", "hindcast".to_owned()),
        ("telemetry.sdk.language", "rust".to_owned()),
    ] {
        if !attributes.iter().any(|(known, _)| known == key) && !value.is_empty() {
            attributes.push((key.to_owned(), value));
        }
    }
    Ok(attributes)
}

fn sampler(config: &OtlpConfig, variable: Variables<'_>) -> Result<Sampler, BadSetting> {
    let argument = || match variable("OTEL_TRACES_SAMPLER_ARG") {
        None => Ok(1.0),
        Some(text) => {
            let ratio = text.parse::<f64>().ok();
            let ratio = ratio.filter(|ratio| (0.0..=1.0).contains(ratio));
            ratio.ok_or_else(|| bad("OTEL_TRACES_SAMPLER_ARG", "is no share from 0 to 1"))
        }
    };
    let name = "OTEL_TRACES_SAMPLER";
    let (parent, ratio) = match variable(name).as_deref() {
        None => (true, f64::from(config.sample_percent) / 100.0),
        Some("always_on") => (false, 1.0),
        Some("always_off") => (false, 0.0),
        Some("traceidratio") => (false, argument()?),
        Some("parentbased_always_on") => (true, 1.0),
        Some("parentbased_always_off") => (true, 0.0),
        Some("parentbased_traceidratio") => (true, argument()?),
        Some(_) => return Err(bad(name, "is not a sampler of the specification")),
    };
    Ok(Sampler { parent, ratio })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(endpoint: &str, variables: &[(&str, &str)]) -> Result<Option<Settings>, BadSetting> {
        let config = OtlpConfig {
            endpoint: endpoint.to_owned(),
            ..OtlpConfig::default()
        };
        Settings::read(&config, &|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn settings(endpoint: &str, variables: &[(&str, &str)]) -> Settings {
        let read = read(endpoint, variables).expect("they make sense");
        read.expect("an endpoint is named")
    }

    #[test]
    fn nothing_is_sent_unless_an_endpoint_is_named() {
        assert!(matches!(read("", &[]), Ok(None)));
        let off = [("OTEL_SDK_DISABLED", "true")];
        assert!(matches!(read("http://x:4318", &off), Ok(None)));
        let found = settings("http://x:4318/", &[("OTEL_LOGS_EXPORTER", "none")]);
        assert_eq!(
            found.endpoints,
            [
                Some("http://x:4318/v1/traces".to_owned()),
                None,
                Some("http://x:4318/v1/metrics".to_owned())
            ]
        );
    }

    #[test]
    fn variables_win_over_the_configuration() {
        let found = settings(
            "http://x",
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://y/base"),
                ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://z/as/it/is"),
                ("OTEL_EXPORTER_OTLP_HEADERS", "a=b%20c, d=e"),
                ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "token=x"),
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
                ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "70"),
                ("OTEL_RESOURCE_ATTRIBUTES", "team=x,service.name=no"),
                ("OTEL_SERVICE_NAME", "edge"),
                ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ],
        );
        assert_eq!(found.endpoints[0].as_deref(), Some("http://z/as/it/is"));
        assert_eq!(
            found.endpoints[1].as_deref(),
            Some("https://y/base/v1/logs")
        );
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let all = vec![pair("a", "b c"), pair("d", "e")];
        assert_eq!(found.headers, [all.clone(), vec![pair("token", "x")], all]);
        assert_eq!(
            found.timeouts,
            [1_500, 1_500, 70].map(Duration::from_millis)
        );
        assert!(found.resource.contains(&pair("service.name", "edge")));
        assert!(found.resource.contains(&pair("team", "x")));
        assert!(found.samples(u128::MAX, true));
        assert!(!found.samples(u128::MAX, false));
        assert!(found.samples(1, false));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "nothing"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "nothing"),
            ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "soon"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem"),
            ("OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE", "/nowhere.pem"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/nowhere.pem"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_TRACES_EXPORTER", "jaeger"),
        ] {
            let error = read("http://x", &[(name, value)]).expect_err(name);
            assert_eq!(error.name, name);
        }
        let error = read("http://a b", &[]).expect_err("no URL");
        assert_eq!(error.name, "otlp.endpoint");
        let error = read("ftp://x", &[]).expect_err("no http");
        assert_eq!(error.name, "otlp.endpoint");
        let error = read("http://joe:word@x:4318/v", &[]).expect_err("a secret");
        assert_eq!(error.name, "otlp.endpoint");
        assert!(read("http://x/joe@y", &[]).is_ok());
        let own = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://joe:word@x")];
        assert!(read("", &own).is_ok());
    }
}
