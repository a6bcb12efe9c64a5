//! One bit of a log at rest is flipped. It is found and named; or nothing was there; or it hit the
//! very last frame, which then cannot be told from one that was torn, and is reported as cut.

use hindcast_log::{LogError, open_journal};

use crate::reference::{Reference, ensure, recovered};
use crate::world::{World, data_dir};
use crate::{Tally, Tell};

/// Bytes before the first frame of a segment, and before the records of a frame.
const SEGMENT_HEADER: usize = 128;
const FRAME_HEADER: usize = 84;

/// Flips one bit and opens the log over it.
pub fn check(
    world: &mut World,
    reference: &Reference,
    tally: &mut Tally,
    tell: Tell<'_>,
) -> Result<(), String> {
    let segments = world.segments().map_err(|error| error.to_string())?;
    let Some((path, bytes)) = world.random.pick(&segments).cloned() else {
        return Ok(());
    };
    let is_last = segments.last().is_some_and(|(last, _)| *last == path);
    let (last_frame, end) = frames_end(&bytes);
    // Mostly where there is something, and sometimes in the blank rest.
    let within = if world.random.once_in(5) {
        bytes.len()
    } else {
        end
    };
    let Some(at) = world.sim.flip_bit(&path, within as u64) else {
        return Err(format!("{} is empty", path.display()));
    };
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    let place = format!("{} at {at} (frames end at {end})", path.display());
    tell(format!("flipped a bit of {place}"));
    match open_journal(&world.disk, data_dir(), bytes.len() as u64, world.log_id()) {
        Err(LogError::Corrupt { seq, what, .. }) => {
            tell(format!("named: sequence {seq}: {what}"));
            ensure!(
                seq.0 >= 1 && seq.0 <= reference.events().len() as u64 + 1,
                "damage of {place} is named at sequence {seq}"
            );
            tally.flips_named += 1;
            Ok(())
        }
        Err(error) => Err(format!("damage of {place}: {error}")),
        Ok((_, recovery)) => {
            let events = recovered(world)?;
            let expected = &reference.events()[..events.len().min(reference.events().len())];
            let same = events.iter().map(|(recorded, _)| recorded).eq(expected);
            ensure!(same, "damage of {place} was read as other data");
            if events.len() == reference.events().len() {
                ensure!(at >= end, "damage of {place} was not found");
                ensure!(
                    !is_last || recovery.torn.is_some(),
                    "damage of {place} was not told"
                );
                tally.flips_harmless += 1;
                return Ok(());
            }
            ensure!(
                is_last && at >= last_frame && at < end,
                "damage of {place} cost events up to {}",
                reference.events().len()
            );
            let torn = recovery.torn.ok_or("a frame was cut and not reported")?;
            ensure!(
                torn.offset == last_frame as u64,
                "the cut is said to be at {}",
                torn.offset
            );
            tally.flips_cut += 1;
            Ok(())
        }
    }
}

/// Where the last frame begins and where it ends, by the lengths in the headers alone.
fn frames_end(bytes: &[u8]) -> (usize, usize) {
    let (mut last, mut end) = (SEGMENT_HEADER, SEGMENT_HEADER);
    while bytes[end..].starts_with(b"HCF1") {
        let Some(length) = bytes.get(end + 44..end + 48) else {
            break;
        };
        let length = length
            .iter()
            .rev()
            .fold(0, |n, byte| n << 8 | usize::from(*byte));
        last = end;
        end += FRAME_HEADER + length;
    }
    (last, end)
}
