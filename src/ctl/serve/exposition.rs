//! The text form of metrics, as Prometheus reads it.

use core::fmt::{Display, Write as _};

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It goes up and down.
    Gauge,
    /// It only goes up, until whoever counts begins anew.
    Counter,
    /// How times are spread.
    Histogram,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// A time in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seconds {
    /// The same in ms.
    pub(super) ms: u64,
}

impl Display for Seconds {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (whole, part) = (self.ms / 1_000, self.ms % 1_000);
        if part == 0 {
            return write!(f, "{whole}");
        }
        f.write_str(format!("{whole}.{part:03}").trim_end_matches('0'))
    }
}

/// What is written so far.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
}

impl Exposition {
    /// Begins a metric.
    pub(super) fn metric(&mut self, kind: Kind, name: &'static str, help: &str) -> Metric<'_> {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a String cannot fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {}\n", kind.word());
        Metric { text: &mut self.text, name }
    }

    /// All of it.
    pub(super) fn finish(self) -> String {
        self.text
    }
}

/// A metric that is being written.
pub(super) struct Metric<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Metric<'_> {
    /// What it comes to.
    pub(super) fn value(&mut self, value: impl Display) -> &mut Self {
        self.sample("", &[], value)
    }

    /// What it comes to for these labels.
    pub(super) fn labelled(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        self.sample("", labels, value)
    }

    /// How times are spread; counts are of what is beyond the bound before.
    pub(super) fn spread(&mut self, bounds: &[u64], counts: &[u64], sum: u64) {
        let mut total = 0_u64;
        let mut counts = counts.iter();
        for ms in bounds {
            total = total.saturating_add(counts.next().copied().unwrap_or_default());
            self.sample("_bucket", &[("le", &Seconds { ms: *ms }.to_string())], total);
        }
        total = counts.fold(total, |total, count| total.saturating_add(*count));
        self.sample("_bucket", &[("le", "+Inf")], total);
        self.sample("_sum", &[], Seconds { ms: sum });
        self.sample("_count", &[], total);
    }

    fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        for (number, (name, value)) in labels.iter().enumerate() {
            self.text.push(if number == 0 { '{' } else { ',' });
            self.text.push_str(name);
            self.text.push_str("=\"");
            for char in value.chars() {
                match char {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    char => self.text.push(char),
                }
            }
            self.text.push('"');
        }
        let end = if labels.is_empty() { "" } else { "}" };
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{end} {value}");
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_written_with_what_it_is() {
        let mut out = Exposition::default();
        out.metric(Kind::Gauge, "x_bytes", "What\nit \\ is.").value(7);
        out.metric(Kind::Counter, "x_total", "How many.")
            .labelled(&[("a", "\"\\\n"), ("b", "é{}")], 1)
            .value(2);
        assert_eq!(
            out.finish(),
            "# HELP x_bytes What\\nit \\\\ is.\n# TYPE x_bytes gauge\nx_bytes 7\n\
             # HELP x_total How many.\n# TYPE x_total counter\n\
             x_total{a=\"\\\"\\\\\\n\",b=\"é{}\"} 1\nx_total 2\n"
        );
    }

    #[test]
    fn a_histogram_counts_up_to_each_bound() {
        let mut out = Exposition::default();
        out.metric(Kind::Histogram, "x_seconds", "How long.").spread(
            &[500, 1_000, 2_050],
            &[1, 0, 2, 4],
            30_001,
        );
        let text = out.finish();
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "x_seconds_bucket{le=\"0.5\"} 1",
                "x_seconds_bucket{le=\"1\"} 1",
                "x_seconds_bucket{le=\"2.05\"} 3",
                "x_seconds_bucket{le=\"+Inf\"} 7",
                "x_seconds_sum 30.001",
                "x_seconds_count 7"
            ]
        );
    }
}
