//! Takes log lines to be sent, from every thread but the one that sends.

use std::sync::Arc;

use hindcast_actors::trace;
use serde_json::Value;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::encode::LogLine;
use super::{Item, Queue, is_sender};
use crate::clock;
use crate::telemetry::lines::Fields;

/// The layer; it takes nothing when log lines are not sent.
pub struct Export(pub(super) Option<Arc<Queue>>);

impl<S: Subscriber> Layer<S> for Export {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(queue) = &self.0 else {
            return;
        };
        if is_sender() {
            return;
        }
        let mut fields = Fields::of(event).0;
        let message = match fields.remove("message") {
            Some(Value::String(text)) => text,
            Some(_) | None => String::new(),
        };
        let place = trace::ids();
        if place.is_some() {
            // They have places of their own in the message.
            fields.remove("trace_id");
            fields.remove("span_id");
        }
        let line = LogLine {
            at_micros: clock::wall().0,
            level: *event.metadata().level(),
            target: event.metadata().target(),
            message,
            place,
            fields,
        };
        let bytes = line.bytes();
        queue.push(Item::Log(line), bytes);
    }
}
