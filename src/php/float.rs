//! PHP's string cast of a float: `%.14G` with PHP's own exponent form.

/// Significant digits of a cast: PHP's `precision` setting, 14 in every default installation.
const PRECISION: i32 = 14;

/// `(string) $float`: `1.5`, `3`, `1.0E+100`, `9.2233720368548E+18`, `-0`, `INF`, `NAN`.
pub(super) fn to_php_string(value: f64) -> String {
    if value.is_nan() {
        return "NAN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "INF" } else { "-INF" }.to_owned();
    }
    let rounded = format!("{:.*e}", PRECISION as usize - 1, value.abs());
    let Some((mantissa, exponent)) = rounded.split_once('e') else {
        return rounded;
    };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let digits = mantissa.replace('.', "");
    let digits = match is_cut_short(value) {
        true => &digits,
        false => digits.trim_end_matches('0'),
    };
    let digits = if digits.is_empty() { "0" } else { digits };
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let unsigned = if (-4..PRECISION).contains(&exponent) {
        positional(digits, exponent)
    } else {
        scientific(digits, exponent)
    };
    format!("{sign}{unsigned}")
}

/// PHP drops the zeros at the end, except of a whole number of fifteen digits whose last, a 5, is
/// rounded down to the even: there it stops short.
fn is_cut_short(value: f64) -> bool {
    let magnitude = value.abs();
    (1e14..1e15).contains(&magnitude) && magnitude % 100.0 == 5.0
}

fn positional(digits: &str, exponent: i32) -> String {
    if exponent < 0 {
        let zeros = "0".repeat(exponent.unsigned_abs() as usize - 1);
        return format!("0.{zeros}{digits}");
    }
    let whole = exponent.unsigned_abs() as usize + 1;
    if digits.len() <= whole {
        return format!("{digits}{}", "0".repeat(whole - digits.len()));
    }
    format!("{}.{}", &digits[..whole], &digits[whole..])
}

fn scientific(digits: &str, exponent: i32) -> String {
    let (first, rest) = digits.split_at(1);
    let rest = if rest.is_empty() { "0" } else { rest };
    format!("{first}.{rest}E{exponent:+}")
}

#[cfg(test)]
mod tests {
    use super::to_php_string;

    #[test]
    fn floats_are_cast_as_php_casts_them() {
        // Right-hand sides printed by PHP 8.2.
        for (value, php) in [
            (1.5, "1.5"),
            (3.0, "3"),
            (0.0, "0"),
            (-0.0, "-0"),
            (-2.5, "-2.5"),
            (1000.0, "1000"),
            (0.1, "0.1"),
            (0.0001, "0.0001"),
            (0.00001, "1.0E-5"),
            (1e100, "1.0E+100"),
            (1e14, "1.0E+14"),
            (1e13, "10000000000000"),
            (123456789.125, "123456789.125"),
            (9_223_372_036_854_775_808.0, "9.2233720368548E+18"),
            (12_345_678_901_234_567_000.0, "1.2345678901235E+19"),
            (99_999_999_999_999.9, "1.0E+14"),
            (531_848_161_735_805.0, "5.3184816173580E+14"),
            (-100_000_000_000_005.0, "-1.0000000000000E+14"),
            (531_848_161_735_895.0, "5.318481617359E+14"),
            (f64::INFINITY, "INF"),
        ] {
            assert_eq!(to_php_string(value), php);
        }
    }
}
