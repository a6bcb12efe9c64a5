//! Seeds in, verdict out: `hindcast-chaos --seeds 0..1000` plays each history and says which
//! promise was broken in which. It does nothing else; the same seed always gives the same verdict.

use std::io::{self, Write};
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use hindcast_chaos::{Tally, play};

const USAGE: &str = "usage: hindcast-chaos [--seeds FROM..TO | --seed N] [--verbose]";

struct Arguments {
    seeds: Range<u64>,
    verbose: bool,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Arguments> {
    let mut parsed = Arguments {
        seeds: 0..1_000,
        verbose: false,
    };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--verbose" => parsed.verbose = true,
            "--seed" => {
                let seed: u64 = arguments.next()?.parse().ok()?;
                parsed.seeds = seed..seed.checked_add(1)?;
            }
            "--seeds" => {
                let range = arguments.next()?;
                let (from, to) = range.split_once("..")?;
                parsed.seeds = from.parse().ok()?..to.parse().ok()?;
            }
            _ => return None,
        }
    }
    Some(parsed)
}

fn main() -> io::Result<ExitCode> {
    let mut out = io::stdout();
    let Some(arguments) = parse(std::env::args().skip(1)) else {
        writeln!(io::stderr(), "{USAGE}")?;
        return Ok(ExitCode::from(2));
    };
    let Range { start, end } = arguments.seeds;
    let next = AtomicU64::new(start);
    let threads = match arguments.verbose {
        true => 1,
        false => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let results: Vec<(u64, Result<Tally, String>)> = std::thread::scope(|scope| {
        let work = || {
            let mut done = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end {
                    return done;
                }
                done.push((seed, played(seed, arguments.verbose)));
            }
        };
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let done = handles.into_iter().map(|handle| handle.join());
        done.flat_map(|done| done.expect("a seed that panics is a verdict"))
            .collect()
    });
    report(&mut out, &(start..end), results)
}

/// A panic of the log is a broken promise like any other.
fn played(seed: u64, verbose: bool) -> Result<Tally, String> {
    let mut tell = |line: String| {
        if verbose {
            // A closed pipe is no reason to end.
            drop(writeln!(io::stdout(), "{line}"));
        }
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| play(seed, &mut tell)))
        .unwrap_or_else(|_| Err("it panicked".to_owned()))
}

fn report(
    out: &mut impl Write,
    seeds: &Range<u64>,
    mut results: Vec<(u64, Result<Tally, String>)>,
) -> io::Result<ExitCode> {
    results.sort_by_key(|(seed, _)| *seed);
    let mut failed = 0;
    let mut sum = Tally::default();
    for (seed, result) in results {
        match result {
            Ok(tally) => add(&mut sum, &tally),
            Err(what) => {
                failed += 1;
                writeln!(out, "seed {seed}: {what}")?;
                writeln!(out, "  again: hindcast-chaos --seed {seed} --verbose")?;
            }
        }
    }
    writeln!(
        out,
        "seeds {}..{}: {failed} failed; {} events in {} frames and {} segments, {} lives, \
         {} faults, {} torn tails, {} refused for room, bit flips: {} named, {} cut, {} harmless",
        seeds.start,
        seeds.end,
        sum.events,
        sum.frames,
        sum.segments,
        sum.lives,
        sum.faults,
        sum.torn_tails,
        sum.refused_for_room,
        sum.flips_named,
        sum.flips_cut,
        sum.flips_harmless
    )?;
    Ok(match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

const fn add(sum: &mut Tally, tally: &Tally) {
    sum.events += tally.events;
    sum.frames += tally.frames;
    sum.lives += tally.lives;
    sum.faults += tally.faults;
    sum.torn_tails += tally.torn_tails;
    sum.segments += tally.segments;
    sum.refused_for_room += tally.refused_for_room;
    sum.flips_named += tally.flips_named;
    sum.flips_cut += tally.flips_cut;
    sum.flips_harmless += tally.flips_harmless;
}
