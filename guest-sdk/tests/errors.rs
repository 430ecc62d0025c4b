//! What people see when a macro refuses their code: the errors point at their lines.

#[test]
fn errors_point_at_the_users_line() {
    trybuild::TestCases::new().compile_fail("tests/errors/*.rs");
}
