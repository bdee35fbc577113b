//! Leaving out a test whose surroundings are missing, loudly.

/// Says that `test` does not run and why. With `WINDROW_TEST_REQUIRE_ALL=1` that is a failure.
pub fn skip(test: &str, reason: &str) {
    println!("SKIPPED {test}: {reason}");
    let required = std::env::var("WINDROW_TEST_REQUIRE_ALL").is_ok_and(|value| value == "1");
    assert!(!required, "{test} may not be skipped: {reason}");
}
