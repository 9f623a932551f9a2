//! The mistakes that a newcomer makes do not compile, and the error says what to write instead.

#[test]
fn mistakes_do_not_compile_and_the_error_says_what_would() {
    trybuild::TestCases::new().compile_fail("compile_fail/*_mistake.rs");
}
