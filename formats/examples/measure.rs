//! How fast lines are read: `cargo run --release -p formats --example measure FILE [SECONDS]`.

use std::error::Error;
use std::io::Write as _;
use std::time::{Duration, Instant};

use domain::timestamp::Timestamp;
use formats::{Options, Reader};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("usage: measure FILE [SECONDS]")?;
    let seconds: u64 = arguments.next().map_or(Ok(3), |seconds| seconds.parse())?;
    let bytes = std::fs::read(&file)?;
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let now = Timestamp::parse("2026-01-01T00:00:00Z")?;
    let (mut passes, mut events) = (0_u32, 0_usize);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        let mut reader = Reader::new(Options::default());
        for line in &lines {
            reader.line(line, (), now, &mut |_| events += 1);
        }
        reader.flush(&mut |_| events += 1);
        passes += 1;
    }
    let elapsed = begun.elapsed().as_secs_f64();
    let per_second = |count: usize| f64::from(passes) * f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / elapsed;
    writeln!(
        std::io::stdout(),
        "{:.0} lines/s, {:.1} MB/s, {} lines and {} events in each of {passes} passes",
        per_second(lines.len()),
        per_second(bytes.len()) / 1e6,
        lines.len(),
        events / usize::try_from(passes.max(1))?,
    )?;
    Ok(())
}
