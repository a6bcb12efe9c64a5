//! Seeds in, verdict out: `hindcast-chaos --seeds 0..1000` plays each history and says which
//! promise was broken in which. It does nothing else; the same seed always gives the same verdict.

use std::io::{self, Write};
use std::ops::Range;
use std::process::ExitCode;

use hindcast_chaos::{Tally, Verdict, play_all};

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
    let tell = |line: String| {
        if arguments.verbose {
            // A closed pipe is no reason to end.
            drop(writeln!(io::stdout(), "{line}"));
        }
    };
    let verdicts = play_all(arguments.seeds.clone(), &tell);
    report(&mut out, &arguments.seeds, &verdicts)
}

fn report(out: &mut impl Write, seeds: &Range<u64>, verdicts: &[Verdict]) -> io::Result<ExitCode> {
    let mut failed = 0;
    let mut sum = Tally::default();
    for Verdict { seed, result } in verdicts {
        match result {
            Ok(tally) => sum.add(tally),
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
         {} faults, {} torn tails, {} refused for room, {} snapshots, {} backups, {} restores, {} \
         of these broken off, bit flips: {} named, {} cut, {} harmless",
        seeds.start,
        seeds.end,
        sum.events,
        sum.frames,
        sum.segments,
        sum.lives,
        sum.faults,
        sum.torn_tails,
        sum.refused_for_room,
        sum.copies.snapshots,
        sum.copies.backups,
        sum.copies.restores,
        sum.copies.broken_off,
        sum.flips_named,
        sum.flips_cut,
        sum.flips_harmless
    )?;
    Ok(match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}
