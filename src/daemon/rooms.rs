//! For the tests of this floor: that its rooms use one another as their table says.

use std::{collections::BTreeSet, fs, path::Path};

/// The rooms of the table in `mod.rs`, from the top down.
fn table(text: &str) -> Vec<&str> {
    let cells = text.lines().filter_map(|line| line.strip_prefix("//! | `")?.split_once(" |"));
    cells.flat_map(|(rooms, _)| rooms.split(", ")).map(|room| room.trim_matches('`')).collect()
}

/// What the code of a room takes from other rooms: the first names behind `super::`, also in braces.
fn used(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let mut used = BTreeSet::new();
    for behind in code.split("super::").skip(1) {
        let mut depth = 0;
        let mut name = String::new();
        for letter in behind.chars() {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => used.extend([std::mem::take(&mut name)]),
                _ if depth <= 1 => name.push(letter),
                _ => {}
            }
            if depth == 0 && !(letter.is_alphanumeric() || letter == '_') {
                break;
            }
        }
        used.insert(name);
    }
    let first =
        |path: String| path.split(|c: char| !c.is_alphanumeric() && c != '_').next().map(str::to_owned);
    used.into_iter()
        .filter_map(|path| first(path.trim().to_owned()))
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn each_room_uses_those_below_it_and_none_above() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/daemon");
    let read = |room: &str| fs::read_to_string(folder.join(format!("{room}.rs"))).unwrap();
    let text = read("mod");
    let rooms = table(&text);
    let declared = text.split("#[cfg(test)]\nmod ").flat_map(|part| part.lines().skip(1));
    for room in declared.filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';')) {
        assert!(rooms.contains(&room), "{room} is missing from the table");
    }
    let mut arrows = 0;
    for (height, room) in rooms.iter().enumerate() {
        for other in used(&read(room)) {
            let place = rooms.iter().position(|room| **room == *other);
            assert!(place.is_some_and(|place| place > height), "{room} uses {other}");
            arrows += 1;
        }
    }
    assert!(arrows > 25, "{arrows}");
}
