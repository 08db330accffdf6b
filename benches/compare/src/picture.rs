//! The curve: rate, 99th percentile and bytes, second by second; darker where a snapshot or a compaction ran.

use crate::curve::Second;
use plotters::prelude::*;
use std::error::Error;
use std::path::Path;

const SIZE: (u32, u32) = (1000, 760);
/// More points than this are too close to be told apart: those between are taken together.
const POINTS: usize = 500;
const INK: RGBColor = RGBColor(0x1f, 0x4e, 0x79);
const MEMBERS: [RGBColor; 3] = [RGBColor(0x1f, 0x4e, 0x79), RGBColor(0xb4, 0x53, 0x09), RGBColor(0x2f, 0x7d, 0x4f)];

/// A line over time.
struct Line {
    points: Vec<(f64, f64)>,
    color: RGBColor,
}

impl Line {
    /// Of those that fall together, the one `of` two that counts.
    fn new(seconds: &[Second], color: RGBColor, value: impl Fn(&Second) -> f64, of: impl Fn(f64, f64) -> f64) -> Self {
        let step = seconds.len().div_ceil(POINTS).max(1);
        let together = seconds.chunks(step).enumerate();
        let points =
            together.filter_map(|(i, some)| Some(((i * step) as f64 + 1.0, some.iter().map(&value).reduce(&of)?)));
        Self { points: points.collect(), color }
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn panel(area: &Area<'_>, title: &str, seconds: &[Second], lines: Vec<Line>) -> Result<(), Box<dyn Error>> {
    let last = seconds.len().max(1) as f64 + 1.0;
    let top = lines.iter().flat_map(|line| &line.points).map(|p| p.1).fold(0.0, f64::max).max(1.0) * 1.08;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(8)
        .x_label_area_size(28)
        .y_label_area_size(76)
        .build_cartesian_2d(1.0..last, 0.0..top)?;
    // Neighbours are one band: a thousand seconds are not a thousand rectangles.
    let mut begin = 0;
    for run in seconds.chunk_by(|a, b| a.busy == b.busy) {
        if run[0].busy {
            let (from, to) = (begin as f64 + 1.0, (begin + run.len()) as f64 + 1.0);
            chart.draw_series([Rectangle::new([(from, 0.0), (to, top)], RGBColor(0xe9, 0xe4, 0xd6).filled())])?;
        }
        begin += run.len();
    }
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .y_labels(5)
        .x_labels(10)
        .x_label_formatter(&|s| format!("{s:.0} s"))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .label_style(("sans-serif", 12))
        .draw()?;
    for line in lines {
        chart.draw_series(LineSeries::new(line.points, line.color.stroke_width(1)))?;
    }
    Ok(())
}

pub fn draw(path: &Path, seconds: &[Second]) -> Result<(), Box<dyn Error + Send + Sync>> {
    // Plotters' errors may stay on their thread only.
    drawn(path, seconds).map_err(|e| e.to_string().into())
}

fn drawn(path: &Path, seconds: &[Second]) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let areas = root.split_evenly((3, 1));
    let slowest = vec![Line::new(seconds, INK, |s| s.rate, f64::min)];
    panel(&areas[0], "puts a second; darker: a snapshot or a compaction runs at some server", seconds, slowest)?;
    panel(&areas[1], "99th percentile, ms", seconds, vec![Line::new(seconds, INK, |s| s.p99, f64::max)])?;
    let megabytes = |m: usize| move |s: &Second| s.bytes.get(m).copied().unwrap_or(0) as f64 / 1e6;
    let disks =
        MEMBERS.iter().enumerate().map(|(m, &color)| Line::new(seconds, color, megabytes(m), f64::max)).collect();
    panel(&areas[2], "MB of each data directory", seconds, disks)?;
    root.present()?;
    Ok(())
}
