//! Plots, drawn by gnuplot as SVG.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Content of a plot.
pub struct Curves<'a> {
    /// Title.
    pub title: &'a str,
    /// Label of the x axis.
    pub across: &'a str,
    /// Label of the y axis.
    pub up: &'a str,
    /// Whether the x axis is logarithmic.
    pub logarithmic: bool,
    /// Names and points.
    pub series: Vec<(&'a str, Vec<(f64, f64)>)>,
}

/// Draws a plot into a file.
pub fn draw(file: &Path, curves: &Curves<'_>) {
    let mut script = String::new();
    let points = curves.series.iter().map(|(_, points)| points);
    for (n, points) in points.enumerate() {
        writeln!(script, "$curve{n} << END").expect("memory");
        for (x, y) in points {
            writeln!(script, "{x} {y}").expect("memory");
        }
        script.push_str("END\n");
    }
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    writeln!(
        script,
        "set terminal svg size 760,420 dynamic background rgb 'white' font 'sans-serif,12'\n\
         set output {}\nset title {}\nset xlabel {}\nset ylabel {}\nset yrange [0:*]\nset grid\nset key bottom right\n\
         set format y '%.0f'\n{}",
        quoted(&file.to_string_lossy()),
        quoted(curves.title),
        quoted(curves.across),
        quoted(curves.up),
        if curves.logarithmic { "set logscale x" } else { "" },
    )
    .expect("memory");
    let lines = curves.series.iter().enumerate().map(|(n, (name, _))| {
        format!("$curve{n} with linespoints linewidth 2 pointtype 7 pointsize 0.5 title {}", quoted(name))
    });
    writeln!(script, "plot {}", lines.collect::<Vec<_>>().join(", ")).expect("memory");
    let mut gnuplot = Command::new("gnuplot").stdin(Stdio::piped()).spawn().expect("gnuplot runs");
    gnuplot.stdin.take().expect("its input").write_all(script.as_bytes()).expect("gnuplot reads");
    assert!(gnuplot.wait().expect("gnuplot ends").success(), "gnuplot does not draw:\n{script}");
}
