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
        _ => float(text),
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
            Some(whole) => whole.into(),
            None => Number::from_f64(value)?,
        }),
        Scalar::Text => Value::String(text.to_owned()),
    })
}

/// `value` as an integer where it is one that an `f64` holds exactly.
#[expect(
    clippy::cast_possible_truncation,
    reason = "checked against the range just before"
)]
fn whole(value: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (value.fract() == 0.0 && value.abs() <= EXACT).then_some(value as i64)
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
