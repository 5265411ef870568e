//! Which instruction sets the tests of this crate run on this machine: one line for each.

#![allow(clippy::print_stdout, reason = "the example reports to its reader")]

use ift_cpu::Instructions;

fn main() {
    for set in Instructions::ALL {
        let set_name = format!("{set:?}");
        if set.available() {
            println!("instructions {set_name:<10} tested here");
        } else {
            println!("instructions {set_name:<10} NOT TESTED here (this machine lacks them)");
        }
    }
}
