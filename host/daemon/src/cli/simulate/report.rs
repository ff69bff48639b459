//! The outcome of simulations as one HTML file with plots inside. It loads nothing and runs no script.

use std::fmt::Write;

use host_core::{simulate::Outcome, units::Millis};
use plotters::{
    prelude::{ChartBuilder, IntoDrawingArea, LineSeries, PathElement, SVGBackend},
    style::{Color, RGBColor, WHITE},
};

use super::{
    Run, Setting,
    text::{SUMMARY, reasons, summary_row},
};
use crate::error::{Error, Fault};

/// Of each plot.
const SIZE: (u32, u32) = (860, 320);
/// Plots with more points than a plot is wide are no better.
const POINTS_MAX: usize = 800;
/// Eight colours that people with any sight can tell apart (Okabe and Ito, 2008), the yellow left out on white.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];
const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:900px;margin:2em auto;padding:0 1em;color:#222}\
table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #ddd}\
td:first-child,th:first-child{text-align:left}svg{width:100%;height:auto}h2{margin-top:2em}";

/// A line of a plot.
struct Line {
    label: String,
    points: Vec<(f64, f64)>,
}

/// The whole page.
pub(super) fn page(setting: &Setting, runs: &[Run]) -> Result<String, Error> {
    let title = format!("{}: {} devices", setting.fleet, setting.devices);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title><style>{STYLE}</style></head><body><h1>{0}</h1>\n",
        escaped(&title)
    );
    let models: Vec<String> = setting.models.iter().map(|model| format!("{} ({} blocks)", model.profile.id(), model.profile.blocks().len())).collect();
    let lasting = runs.first().map_or(Millis::ZERO, |run| run.outcome.duration);
    add(&mut page, &format!("<p>{lasting} of requests, seed {}. Models: {}.</p>\n", setting.seed, escaped(&models.join(", "))));
    summary(&mut page, runs);
    for (heading, says, plot) in plots(runs)? {
        add(&mut page, &format!("<h2>{heading}</h2>\n<p>{says}</p>\n{plot}\n"));
    }
    for run in runs {
        plans(&mut page, run);
    }
    page.push_str("</body></html>\n");
    Ok(page)
}

fn plots(runs: &[Run]) -> Result<Vec<(&'static str, &'static str, String)>, Error> {
    let over_time = |value: &dyn Fn(&Outcome, usize) -> f64| -> Vec<Line> {
        let points = |run: &Run| {
            let length = run.outcome.duration.0 / 1e3 / run.outcome.stretches.len().max(1) as f64;
            (0..run.outcome.stretches.len()).map(|index| ((index as f64 + 0.5) * length, value(&run.outcome, index))).collect()
        };
        runs.iter().map(|run| Line { label: run.label.clone(), points: points(run) }).collect()
    };
    let seconds = |outcome: &Outcome| outcome.duration.0 / 1e3 / outcome.stretches.len().max(1) as f64;
    let latencies: Vec<Line> = runs.iter().map(|run| Line { label: run.label.clone(), points: percentiles(&run.outcome) }).collect();
    let busy: Vec<Line> = runs.iter().map(|run| Line { label: run.label.clone(), points: utilisation(&run.outcome) }).collect();
    let moved: Vec<Line> = runs.iter().map(|run| Line { label: run.label.clone(), points: fetched(&run.outcome) }).collect();
    let mean = |outcome: &Outcome, index: usize| {
        let stretch = &outcome.stretches[index];
        if stretch.served > 0 { stretch.latency_sum.0 / stretch.served as f64 } else { 0.0 }
    };
    Ok(vec![
        ("Latency", "The share of answers, in percent, that took no longer than this.", plot("milliseconds", "% of answers", &latencies)?),
        ("Latency over time", "The mean of the answers of each stretch of time, in milliseconds.", plot("seconds", "milliseconds", &over_time(&mean))?),
        (
            "Answers over time",
            "Answers per second.",
            plot("seconds", "answers/s", &over_time(&|outcome, index| outcome.stretches[index].served as f64 / seconds(outcome)))?,
        ),
        (
            "Not served",
            "Requests per second that were turned away, or got no answer.",
            plot(
                "seconds",
                "requests/s",
                &over_time(&|outcome, index| (outcome.stretches[index].shed + outcome.stretches[index].failed) as f64 / seconds(outcome)),
            )?,
        ),
        (
            "Waiting",
            "Requests that wait for their turn.",
            plot("seconds", "requests", &over_time(&|outcome, index| f64::from(outcome.stretches[index].waiting)))?,
        ),
        ("Utilisation", "How busy the devices are, the busiest first.", plot("device", "% of its time", &busy)?),
        ("Replicas", "Ready replicas of all models.", plot("seconds", "replicas", &over_time(&|outcome, index| f64::from(outcome.stretches[index].replicas)))?),
        ("Devices", "Connected devices.", plot("seconds", "devices", &over_time(&|outcome, index| f64::from(outcome.stretches[index].connected)))?),
        (
            "Shards on their way",
            "Bytes of shards that were fetched for plans up to then; before the doors opened counts as 0 s.",
            plot("seconds", "MiB", &moved)?,
        ),
    ])
}

/// Up to the 99.9th percentile: what is beyond would leave no room for the rest.
fn percentiles(outcome: &Outcome) -> Vec<(f64, f64)> {
    let latencies = &outcome.requests.latencies;
    let steps = latencies.count().clamp(1, POINTS_MAX / 2);
    let share = |step: usize| 0.999 * step as f64 / steps as f64;
    (0..=steps).filter_map(|step| Some((latencies.percentile(share(step))?.0, share(step) * 100.0))).collect()
}

fn utilisation(outcome: &Outcome) -> Vec<(f64, f64)> {
    let mut shares: Vec<f64> = outcome.devices.iter().map(|device| device.utilisation * 100.0).collect();
    shares.sort_by(|one, other| other.total_cmp(one));
    let every = shares.len().div_ceil(POINTS_MAX).max(1);
    shares.iter().enumerate().step_by(every).map(|(index, share)| (index as f64 + 1.0, *share)).collect()
}

/// A staircase: what is fetched for a plan counts when the plan is made.
fn fetched(outcome: &Outcome) -> Vec<(f64, f64)> {
    let mut sum = 0.0;
    let mut points = vec![(0.0, 0.0)];
    for change in &outcome.plans {
        let at = change.at.0.max(0.0) / 1e3;
        points.push((at, sum));
        sum += change.fetched.as_f64() / f64::from(1 << 20);
        points.push((at, sum));
    }
    points.push((outcome.duration.0 / 1e3, sum));
    points
}

/// Draws lines into an SVG of their own.
fn plot(across: &str, upward: &str, lines: &[Line]) -> Result<String, Error> {
    let mut drawing = String::new();
    let fault = |error: String| Error::from(Fault::File { doing: "draw", path: format!("the plot of {upward}") }).because(error);
    draw(&mut drawing, across, upward, lines).map_err(fault)?;
    Ok(drawing)
}

fn draw(drawing: &mut String, across: &str, upward: &str, lines: &[Line]) -> Result<(), String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let all = || lines.iter().flat_map(|line| line.points.iter().copied());
    let (width, height) = all().fold((0.0_f64, 0.0_f64), |most, point| (most.0.max(point.0), most.1.max(point.1)));
    let (width, height) = (if width > 0.0 { width } else { 1.0 }, if height > 0.0 { height * 1.05 } else { 1.0 });
    let area = SVGBackend::with_string(drawing, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(|error| said(&error))?;
    let mut builder = ChartBuilder::on(&area);
    builder.margin(10).x_label_area_size(42).y_label_area_size(64);
    let mut chart = builder.build_cartesian_2d(0.0..width, 0.0..height).map_err(|error| said(&error))?;
    chart.configure_mesh().x_desc(across).y_desc(upward).light_line_style(WHITE).draw().map_err(|error| said(&error))?;
    for (index, line) in lines.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let series = LineSeries::new(line.points.iter().copied(), colour.stroke_width(2));
        let drawn = chart.draw_series(series).map_err(|error| said(&error))?;
        drawn.label(line.label.as_str()).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    if lines.len() > 1 {
        chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(RGBColor(200, 200, 200)).draw().map_err(|error| said(&error))?;
    }
    area.present().map_err(|error| said(&error))
}

fn summary(page: &mut String, runs: &[Run]) {
    let heads: String = SUMMARY.iter().map(|head| format!("<th>{head}</th>")).collect();
    add(page, &format!("<table><tr>{heads}</tr>\n"));
    for run in runs {
        let queueing = if run.queueing.is_empty() { "order of arrival" } else { &run.queueing };
        let policies = format!("{} ({}, {}, {queueing})", run.label, run.allocation, run.routing);
        row(page, &summary_row(run, escaped(&policies)));
    }
    page.push_str("</table>\n");
    for run in runs {
        let why: Vec<String> = reasons(&run.outcome.requests).into_iter().map(|(word, count)| format!("{word} {count}")).collect();
        if !why.is_empty() {
            add(page, &format!("<p>{}: not served because {}.</p>\n", escaped(&run.label), escaped(&why.join(", "))));
        }
    }
}

fn plans(page: &mut String, run: &Run) {
    add(page, &format!("<h2>Plans of {}</h2>\n", escaped(&run.label)));
    page.push_str("<table><tr><th>why</th><th>plan</th><th>after</th><th>new stages</th><th>fetched</th><th>at least</th></tr>\n");
    for change in run.outcome.plans.iter().take(POINTS_MAX) {
        let swings = if change.is_uncaused { ", though nothing had happened" } else { "" };
        let reason = escaped(&format!("{}{swings}", change.reason));
        row(
            page,
            &[
                reason,
                change.plan.to_string(),
                change.at.to_string(),
                change.stages_new.to_string(),
                change.fetched.to_string(),
                change.fetched_min.to_string(),
            ],
        );
    }
    page.push_str("</table>\n");
    if run.outcome.plans.len() > POINTS_MAX {
        add(page, &format!("<p>The first {POINTS_MAX} of {} plans.</p>\n", run.outcome.plans.len()));
    }
}

fn row(page: &mut String, cells: &[String]) {
    let cells: String = cells.iter().fold(String::new(), |row, cell| row + "<td>" + cell + "</td>");
    add(page, &format!("<tr>{cells}</tr>\n"));
}

fn add(page: &mut String, text: &str) {
    page.write_str(text).expect("text is written to memory, which cannot fail");
}

/// As text, whatever it says.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_is_an_svg_with_a_line_and_a_name_for_each_policy() {
        let line = |label: &str| Line { label: label.to_owned(), points: vec![(0.0, 1.0), (1.0, 3.0)] };
        let drawn = plot("seconds", "answers/s", &[line("one"), line("other <b>")]).expect("it is drawn");
        assert!(drawn.starts_with("<svg") && drawn.trim_end().ends_with("</svg>"), "{drawn}");
        for expected in ["seconds", "answers/s", "one", "#0072B2", "#D55E00"] {
            assert!(drawn.contains(expected), "{expected} in {drawn}");
        }
        assert!(!drawn.contains("<b>"), "names are text");
    }

    #[test]
    fn a_plot_of_nothing_is_empty_and_no_failure() {
        assert!(plot("seconds", "answers/s", &[Line { label: "none".into(), points: Vec::new() }]).is_ok());
    }

    #[test]
    fn what_people_call_things_is_text() {
        assert_eq!(escaped("<script>\"a\" & b</script>"), "&lt;script&gt;&quot;a&quot; &amp; b&lt;/script&gt;");
    }
}
