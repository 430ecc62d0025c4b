//! Misbehaving components: `tests/guests/` has a folder for each case, with the component and what must come of it. A
//! folder is a test. Each runs beside a healthy pipeline, whose output is compared as well.

mod case;
mod component;
mod folders;
mod healthy;
mod judge;
mod run;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let cases = folders::cases().into_iter().map(|name| {
        let test = move |name: &str| run::run(&case::Case::read(name));
        Trial::test(format!("guests::{name}"), move || {
            test(&name);
            Ok(())
        })
    });
    let mut trials: Vec<Trial> = cases.collect();
    trials.push(Trial::test("each_folder_is_a_case_or_used_by_another_test", || {
        folders::nothing_is_forgotten();
        Ok(())
    }));
    trials.push(Trial::test("an_expectation_that_says_nothing_is_refused", || {
        case::nonsense_is_refused();
        Ok(())
    }));
    libtest_mimic::run(&arguments, trials).exit();
}
