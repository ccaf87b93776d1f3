//! Plain YAML scalars, read as kubectl reads them.
//!
//! Kubernetes' tools read YAML 1.1 by way of `sigs.k8s.io/yaml`, whose rules
//! are those of `go.yaml.in/yaml/v2` (resolve.go) and then of Go's JSON
//! encoder. Manifests in the world depend on them: `yes` is a boolean, `0644`
//! is 420, `1.0` is 1. Only unquoted scalars come here.

use serde_json::{Number, Value};

/// What an unquoted scalar means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    /// Above what an `i64` holds.
    Uint(u64),
    Float(f64),
    Text,
}

pub(super) fn resolve(text: &str) -> Scalar {
    match text.as_bytes() {
        [] => Scalar::Null,
        [b'.', ..] => dotted(text),
        [b'+' | b'-' | b'0'..=b'9', ..] => number(text),
        _ => word(text),
    }
}

fn word(text: &str) -> Scalar {
    match text {
        "~" | "null" | "Null" | "NULL" => Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Scalar::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Scalar::Bool(false)
        }
        _ => Scalar::Text,
    }
}

fn dotted(text: &str) -> Scalar {
    match text {
        ".nan" | ".NaN" | ".NAN" => Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" => Scalar::Float(f64::INFINITY),
        _ if text.contains("__") || text.ends_with('_') || text.starts_with("._") => Scalar::Text,
        _ => float(&text.replace('_', "")),
    }
}

fn number(text: &str) -> Scalar {
    match text {
        "+.inf" | "+.Inf" | "+.INF" => return Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.as_bytes().first() {
        Some(b'-') => (true, &plain[1..]),
        Some(b'+') => (false, &plain[1..]),
        _ => (false, plain.as_str()),
    };
    if let Some(magnitude) = integer(digits) {
        let signed = if negative {
            0i64.checked_sub_unsigned(magnitude)
        } else {
            i64::try_from(magnitude).ok()
        };
        if let Some(value) = signed {
            return Scalar::Int(value);
        }
        // Go reads a sign only on what fits an int64.
        if digits.len() == plain.len() {
            return Scalar::Uint(magnitude);
        }
    }
    float(&plain)
}

/// Go's `strconv.ParseUint` with base 0, without underscores.
fn integer(digits: &str) -> Option<u64> {
    let bytes = digits.as_bytes();
    let (radix, digits) = match bytes {
        [b'0', b'x' | b'X', _, ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', _, ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', _, ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    // `from_str_radix` would take a sign of its own.
    if digits.starts_with(['+', '-']) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`, within the range of an `f64`.
fn float(text: &str) -> Scalar {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mantissa = unsigned
        .find(['e', 'E'])
        .map_or(unsigned, |at| &unsigned[..at]);
    let shaped = mantissa.contains(|c: char| c.is_ascii_digit())
        && unsigned
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    match text.parse::<f64>() {
        Ok(value) if shaped && value.is_finite() => Scalar::Float(value),
        _ => Scalar::Text,
    }
}

/// The JSON of a scalar, as Go's encoder writes it: a float without a fraction
/// is an integer. `None` for what JSON cannot hold: infinities and "not a number".
pub(super) fn to_json(scalar: Scalar, text: &str) -> Option<Value> {
    Some(match scalar {
        Scalar::Null => Value::Null,
        Scalar::Bool(value) => Value::Bool(value),
        Scalar::Int(value) => Value::Number(value.into()),
        Scalar::Uint(value) => Value::Number(value.into()),
        Scalar::Float(value) => Value::Number(match whole(value) {
            Some(whole) => whole,
            None => Number::from_f64(value)?,
        }),
        Scalar::Text => Value::String(text.to_owned()),
    })
}

/// `value` without a fraction, as the integer that Go's encoder writes for it:
/// its shortest digits, filled up with zeros.
fn whole(value: f64) -> Option<Number> {
    if value.fract() != 0.0 || value.abs() > 1e20 {
        return None;
    }
    if value == 0.0 {
        return Some(0.into());
    }
    let digits = value.to_string();
    digits
        .parse::<i64>()
        .map(Number::from)
        .or_else(|_| digits.parse::<u64>().map(Number::from))
        .ok()
}

/// A scalar as the key of a map; `None` for what cannot be one.
pub(super) fn to_key(scalar: Scalar, text: &str) -> Option<String> {
    Some(match scalar {
        Scalar::Null => return None,
        Scalar::Bool(value) => value.to_string(),
        Scalar::Int(value) => value.to_string(),
        Scalar::Uint(_) => return None,
        Scalar::Float(value) if value.is_nan() => ".nan".into(),
        Scalar::Float(value) if value.is_infinite() => {
            if value > 0.0 { ".inf" } else { "-.inf" }.into()
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "sigs.k8s.io/yaml keeps 32 bits of it"
        )]
        Scalar::Float(value) => (value as f32).to_string(),
        Scalar::Text => text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every row was checked against sigs.k8s.io/yaml v1.6.
    #[test]
    fn plain_scalars_mean_what_they_mean_to_kubectl() {
        for (json, texts) in [
            ("true", "y Y yes Yes YES true True TRUE on On ON"),
            ("false", "n N no No NO false False FALSE off Off OFF"),
            ("null", "~ null Null NULL"),
            ("0", "0 00 -0 -0.0 0x0 0_0"),
            (
                "420",
                "0644 0o644 0x1a4 0b110100100 420 +420 4_2_0 420.0 4.2e2",
            ),
            ("-8", "-010 -8 -0x8 -8.0"),
            ("9", "09 9."),
            ("1000", "1e3 1E3 1_000 1000.0 1e+3"),
            ("0.5", "0.5 .5 +.5 5e-1"),
            ("0.11", ".1_1"),
            ("9223372036854775807", "9223372036854775807"),
            ("9223372036854775808", "9223372036854775808"),
            ("18446744073709551615", "18446744073709551615"),
            ("9223372036854776000", "+9223372036854775808"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("10000000000000000", "1e16"),
        ] {
            for text in texts.split(' ') {
                let got = to_json(resolve(text), text).expect(text);
                assert_eq!(got.to_string(), json, "{text}");
            }
        }
    }

    #[test]
    fn other_scalars_are_texts() {
        for text in [
            "yEs",
            "tRUE",
            "nULL",
            "v1",
            "1.2.3",
            "2024-01-01",
            "12:30",
            "1Gi",
            "500m",
            "0x",
            "0b2",
            "1e400",
            "+",
            "-",
            ".",
            "1,000",
            "_1",
            "0x-1",
            "e5",
            ".e5",
            "+-1",
            "1e",
            "--1",
            ".1_",
            "nan",
            "inf",
            "+inf",
            "-nan",
            "infinity",
        ] {
            assert_eq!(resolve(text), Scalar::Text, "{text}");
        }
    }

    #[test]
    fn what_json_cannot_hold_is_nothing() {
        for text in [".nan", ".inf", "-.INF", "+.Inf"] {
            assert_eq!(to_json(resolve(text), text), None, "{text}");
        }
    }

    #[test]
    fn keys_are_texts_of_what_they_mean() {
        for (text, key) in [("on", "true"), ("0x10", "16"), ("1.10", "1.1"), ("a", "a")] {
            assert_eq!(to_key(resolve(text), text).as_deref(), Some(key), "{text}");
        }
        assert_eq!(to_key(Scalar::Null, "~"), None);
    }
}
