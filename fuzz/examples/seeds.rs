//! Writes the inputs that each target begins with below the directory that is given.

#[path = "../../tests/fuzz/properties.rs"]
mod properties;
#[path = "../../tests/fuzz/targets.rs"]
mod targets;

use std::path::Path;

fn main() -> std::io::Result<()> {
    let directory = std::env::args().nth(1).unwrap_or_else(|| "corpus".to_owned());
    for target in targets::TARGETS {
        let directory = Path::new(&directory).join(target.name);
        std::fs::create_dir_all(&directory)?;
        for (number, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(directory.join(format!("fixture-{number}")), seed)?;
        }
    }
    Ok(())
}
