//! Which environment variables are ours.

use campanile::config::load::{Sources, load};

fn with(name: &str) -> Sources {
    Sources {
        environment: vec![(name.to_owned(), "127.0.0.1:1".to_owned())],
        ..Sources::default()
    }
}

#[test]
fn one_underscore_for_two_is_told_with_the_right_name() {
    let error = load(&with("CAMPANILE_HTTP_LISTEN")).expect_err("it is a slip");
    let message = error.to_string();
    for word in ["CAMPANILE_HTTP_LISTEN", "CAMPANILE_HTTP__LISTEN"] {
        assert!(message.contains(word), "no {word} in {message}");
    }
}

#[test]
fn variables_of_others_are_left_alone() {
    for name in ["CAMPANILE_PORT", "CAMPANILE_SERVICE_HOST", "CAMPANILE_HTTP"] {
        load(&with(name)).expect("it is not ours");
    }
}
