//! Quantities (`100m`, `1Gi`, `0.5`) in the one form that the server keeps.

/// Billionths: nothing finer is kept, rounded up.
const NANO: i128 = 1_000_000_000;
const BINARY: &[(&str, u32)] = &[
    ("Ei", 60),
    ("Pi", 50),
    ("Ti", 40),
    ("Gi", 30),
    ("Mi", 20),
    ("Ki", 10),
];
/// Suffixes and how many billionths one stands for, as a power of ten.
const DECIMAL: &[(&str, u32)] = &[
    ("E", 27),
    ("P", 24),
    ("T", 21),
    ("G", 18),
    ("M", 15),
    ("k", 12),
    ("", 9),
    ("m", 6),
    ("u", 3),
    ("n", 0),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Decimal,
    Binary,
    Exponent,
}

/// The canonical form, or nothing if the text is no quantity.
pub(super) fn canonical(text: &str) -> Option<String> {
    let (nanos, format) = parse(text.trim())?;
    if nanos == 0 {
        return Some("0".to_owned());
    }
    Some(match format {
        Format::Binary if nanos % NANO == 0 && nanos.abs() >= 1024 * NANO => {
            let whole = nanos / NANO;
            let (suffix, shift) = BINARY
                .iter()
                .find(|(_, shift)| whole % (1 << shift) == 0)
                .copied()
                .unwrap_or(("", 0));
            format!("{}{suffix}", whole >> shift)
        }
        Format::Exponent => {
            let mut exponent = 0;
            let mut digits = nanos;
            while digits % 1000 == 0 {
                digits /= 1000;
                exponent += 3;
            }
            match exponent - 9 {
                0 => digits.to_string(),
                exponent => format!("{digits}e{exponent}"),
            }
        }
        _ => {
            let (suffix, power) = DECIMAL
                .iter()
                .find(|(_, power)| nanos % 10_i128.pow(*power) == 0)
                .copied()?;
            format!("{}{suffix}", nanos / 10_i128.pow(power))
        }
    })
}

fn parse(text: &str) -> Option<(i128, Format)> {
    let digits = text
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-')))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (sign, number) = match number.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty()
        || !whole
            .bytes()
            .chain(fraction.bytes())
            .all(|c| c.is_ascii_digit())
    {
        return None;
    }
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    let places = i32::try_from(fraction.len()).ok()?;
    if let Some((_, shift)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        let scaled = mantissa.checked_mul(NANO)?.checked_mul(1 << shift)?;
        return Some((sign * divide_up(scaled, places)?, Format::Binary));
    }
    let (power, format) = match DECIMAL.iter().find(|(name, _)| *name == suffix) {
        Some((_, power)) => (i32::try_from(*power).ok()?, Format::Decimal),
        None => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            (exponent.checked_add(9)?, Format::Exponent)
        }
    };
    let power = power - places;
    let nanos = if power >= 0 {
        mantissa.checked_mul(10_i128.checked_pow(u32::try_from(power).ok()?)?)?
    } else {
        divide_up(mantissa, -power)?
    };
    Some((sign * nanos, format))
}

fn divide_up(value: i128, places: i32) -> Option<i128> {
    let by = 10_i128.checked_pow(u32::try_from(places).ok()?)?;
    Some(value / by + i128::from(value % by != 0))
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn quantities_take_the_form_that_the_server_keeps() {
        for (given, kept) in [
            ("1", "1"),
            ("0.5", "500m"),
            ("1000m", "1"),
            ("100m", "100m"),
            ("1024Mi", "1Gi"),
            ("1536Mi", "1536Mi"),
            ("0.5Gi", "512Mi"),
            ("512", "512"),
            ("1000", "1k"),
            ("1500", "1500"),
            ("1e3", "1e3"),
            ("12e6", "12e6"),
            ("0", "0"),
            ("0Gi", "0"),
            ("1.5G", "1500M"),
            ("512Ki", "512Ki"),
            ("0.1Ki", "102400m"),
            ("-1", "-1"),
            ("1n", "1n"),
            ("0.0000000001", "1n"),
        ] {
            assert_eq!(canonical(given).as_deref(), Some(kept), "{given}");
        }
        for given in ["", "x", "1Zi", "1.2.3", "Gi", "1 Gi"] {
            assert_eq!(canonical(given), None, "{given}");
        }
    }
}
