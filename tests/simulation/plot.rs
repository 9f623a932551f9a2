//! The plot: goodput against load, a panel for each scenario.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use tower_backpressure::Order;

use crate::experiment::{Experiment, LOADS, Row};
use crate::policies::{Limit, Policy};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn Error>>;

/// Writes the picture, an SVG.
pub(crate) fn write(path: &Path, experiments: &[Experiment], floor: f64) -> Drawn {
    let root = SVGBackend::new(path, (1280, 860)).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled("Answers in time, as part of what the service can do, against load", ("sans-serif", 24))?;
    let (panels, legend) = root.split_horizontally(1060);
    for (area, experiment) in panels.split_evenly((2, 2)).iter().zip(experiments) {
        panel(area, experiment, floor)?;
    }
    names(&legend, &experiments[0].rows, floor)?;
    root.present()?;
    Ok(())
}

fn panel(area: &Area<'_>, experiment: &Experiment, floor: f64) -> Drawn {
    let last = LOADS.len() as f64 - 1.0;
    // A place for each load, at 0, 1, 2 and 3; labels elsewhere would be empty.
    let load = |place: &f64| {
        (0..).zip(LOADS).find(|(index, _)| f64::from(*index) == *place).map_or(String::new(), |(_, load)| format!("{load}×"))
    };
    let mut chart = ChartBuilder::on(area)
        .caption(experiment.scenario.name, ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d(-0.5..last + 0.5, 0.0..1.1)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(LOADS.len())
        .light_line_style(WHITE)
        .x_desc("requests that come, as a multiple of the capacity")
        .x_label_formatter(&load)
        .y_desc("goodput / capacity")
        .y_labels(12)
        .label_style(("sans-serif", 14))
        .draw()?;
    let floor = [(-0.5, floor), (last + 0.5, floor)];
    chart.draw_series(DashedLineSeries::new(floor, 6, 4, BLACK.into()))?;
    for (series, row) in experiment.rows.iter().enumerate() {
        // Side by side: most of them would lie on each other.
        let shift = series as f64 / experiment.rows.len() as f64 * 0.7 - 0.35;
        let points = row.outcomes.iter().enumerate();
        let points: Vec<_> = points.map(|(place, outcome)| (place as f64 + shift, experiment.kept(outcome))).collect();
        let color = color(row.policy);
        chart.draw_series(LineSeries::new(points.iter().copied(), color.mix(0.35)))?;
        if queues(row.policy) {
            chart.draw_series(points.iter().map(|point| TriangleMarker::new(*point, 6, color.filled())))?;
        } else {
            chart.draw_series(points.iter().map(|point| Circle::new(*point, 4, color.filled())))?;
        }
    }
    Ok(())
}

fn names(area: &Area<'_>, rows: &[Row], floor: f64) -> Drawn {
    for (row, y) in rows.iter().zip((60..).step_by(26)) {
        let color = color(row.policy);
        if queues(row.policy) {
            area.draw(&TriangleMarker::new((14, y), 6, color.filled()))?;
        } else {
            area.draw(&Circle::new((14, y), 4, color.filled()))?;
        }
        area.draw(&Text::new(row.policy.name(), (28, y - 7), ("sans-serif", 15)))?;
    }
    let bottom = 60 + i32::try_from(rows.len())? * 26;
    area.draw(&DashedPathElement::new([(4, bottom), (24, bottom)], 6, 4, BLACK))?;
    area.draw(&Text::new(format!("{floor}, the floor"), (28, bottom - 7), ("sans-serif", 15)))?;
    Ok(())
}

fn color(policy: Policy) -> RGBColor {
    match policy {
        Policy::Nothing => RGBColor(120, 120, 120),
        Policy::UnboundedQueue => RGBColor(214, 39, 40),
        Policy::Shed(Limit::Fixed, None) => RGBColor(31, 119, 180),
        Policy::Shed(Limit::Fixed, Some(Order::Fifo)) => RGBColor(8, 48, 107),
        Policy::Shed(Limit::Fixed, Some(Order::Lifo)) => RGBColor(107, 174, 214),
        Policy::Shed(Limit::Fixed, Some(_)) => RGBColor(23, 190, 207),
        Policy::Shed(Limit::Aimd, _) => RGBColor(44, 160, 44),
        Policy::Shed(Limit::Vegas, _) => RGBColor(148, 103, 189),
        Policy::Shed(Limit::Gradient2, _) => RGBColor(255, 127, 14),
    }
}

fn queues(policy: Policy) -> bool {
    matches!(policy, Policy::UnboundedQueue | Policy::Shed(_, Some(_)))
}
