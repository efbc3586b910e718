//! Prometheus text format 0.0.4, one family at a time.
//!
//! Owns how a family, a label value and a number are written; knows no metric. Families cannot be interleaved: each
//! writer method writes HELP, TYPE and then all samples.
//! Format: <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use std::fmt::{Display, Write};

use super::{BOUNDS_MICROS, HistogramSnapshot};

/// Writes families to the end of a text.
pub(super) struct Exposition<'o> {
    out: &'o mut String,
}

impl<'o> Exposition<'o> {
    pub(super) fn new(out: &'o mut String) -> Self {
        Self { out }
    }

    /// A counter of one sample.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, help, "counter");
        self.sample(name, "", None, value);
    }

    /// A gauge of one sample.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, help, "gauge");
        self.sample(name, "", None, value);
    }

    /// A counter with one sample per value of `label`.
    pub(super) fn counters<L: Display, V: Display>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        samples: impl IntoIterator<Item = (L, V)>,
    ) {
        self.labelled(name, help, "counter", label, samples);
    }

    /// A gauge with one sample per value of `label`.
    pub(super) fn gauges<L: Display, V: Display>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        samples: impl IntoIterator<Item = (L, V)>,
    ) {
        self.labelled(name, help, "gauge", label, samples);
    }

    /// A histogram: cumulative buckets with `le` in seconds, `+Inf` last, then sum and count.
    pub(super) fn histogram_seconds(&mut self, name: &str, help: &str, value: &HistogramSnapshot) {
        self.head(name, help, "histogram");
        let mut so_far = 0;
        let mut counts = value.buckets().iter();
        for (&bound, &count) in BOUNDS_MICROS.iter().zip(counts.by_ref()) {
            so_far += count;
            self.sample(name, "_bucket", Some(("le", &(f64::from(bound) / 1e6))), so_far);
        }
        self.sample(name, "_bucket", Some(("le", &"+Inf")), value.count());
        self.sample(name, "_sum", None, value.sum_seconds());
        self.sample(name, "_count", None, value.count());
    }

    fn labelled<L: Display, V: Display>(
        &mut self,
        name: &str,
        help: &str,
        kind: &str,
        label: &str,
        samples: impl IntoIterator<Item = (L, V)>,
    ) {
        self.head(name, help, kind);
        for (label_value, value) in samples {
            self.sample(name, "", Some((label, &label_value)), value);
        }
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        debug_assert!(!help.contains(['\\', '\n']), "help texts are ours and need no escaping");
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, suffix: &str, label: Option<(&str, &dyn Display)>, value: impl Display) {
        match label {
            None => self.write(format_args!("{name}{suffix} {value}\n")),
            Some((label, label_value)) => {
                self.write(format_args!("{name}{suffix}{{{label}=\""));
                // Writing to a String cannot fail.
                let _ = write!(LabelValue(self.out), "{label_value}");
                self.write(format_args!("\"}} {value}\n"));
            }
        }
    }

    fn write(&mut self, what: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.out.write_fmt(what);
    }
}

/// Escapes what goes between the quotes of a label value.
struct LabelValue<'o>(&'o mut String);

impl Write for LabelValue<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for c in text.chars() {
            match c {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                _ => self.0.push(c),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_help_type_and_samples() {
        let mut out = String::new();
        let mut text = Exposition::new(&mut out);
        text.counter("a_total", "As.", 3u64);
        text.gauges("b", "Bs.", "reason", [("x", 0.5), ("y", 2.0)]);
        assert_eq!(
            out,
            "# HELP a_total As.\n# TYPE a_total counter\na_total 3\n\
             # HELP b Bs.\n# TYPE b gauge\nb{reason=\"x\"} 0.5\nb{reason=\"y\"} 2\n"
        );
    }

    #[test]
    fn label_values_are_escaped() {
        let mut out = String::new();
        Exposition::new(&mut out).gauges("b", "Bs.", "v", [("a\\b\"c\nd", 1)]);
        assert!(out.ends_with("b{v=\"a\\\\b\\\"c\\nd\"} 1\n"), "{out}");
    }

    #[test]
    fn a_histogram_is_cumulative_and_ends_with_infinity_sum_and_count() {
        let mut own = HistogramSnapshot::default();
        own.record_n(400, 2);
        own.record_n(900, 1);
        own.record_n(70_000_000, 1);
        let mut out = String::new();
        Exposition::new(&mut out).histogram_seconds("t_seconds", "Time.", &own);
        for line in [
            "t_seconds_bucket{le=\"0.0005\"} 2\n",
            "t_seconds_bucket{le=\"0.001\"} 3\n",
            "t_seconds_bucket{le=\"0.0075\"} 3\n",
            "t_seconds_bucket{le=\"60\"} 3\nt_seconds_bucket{le=\"+Inf\"} 4\nt_seconds_sum 70.0017\nt_seconds_count 4\n",
        ] {
            assert!(out.contains(line), "{line} in\n{out}");
        }
    }
}
