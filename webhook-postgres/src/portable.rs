//! The statements keep to what other engines that speak PostgreSQL take as well. Citus plans a statement in parts, and
//! refuses an UPDATE whose values might differ where it runs.

use std::fs;
use std::path::{Path, PathBuf};

/// Functions that return another value in each call.
const VOLATILE: [&str; 5] = [
    "random()",
    "clock_timestamp()",
    "timeofday()",
    "gen_random_uuid()",
    "nextval(",
];

/// A function that returns one value in each statement.
const STABLE: &str = "statement_timestamp()";

/// All statements of the program, without migrations, which are no statements of this kind: their files, and their SQL
/// without comments.
fn statements() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("migrations") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|it| it == "sql") {
                let sql = fs::read_to_string(&path).unwrap();
                let lines = sql.lines().map(|line| line.split("--").next().unwrap());
                let sql = lines.collect::<Vec<_>>().join("\n");
                found.push((path, sql));
            }
        }
    }
    assert!(found.len() > 40, "{}", found.len());
    found
}

/// The parts of `sql` that begin with `word`, each up to the end of its statement or of its parentheses.
fn parts<'s>(sql: &'s str, word: &str) -> Vec<&'s str> {
    let starts = sql.match_indices(word).map(|(at, _)| at);
    let is_word = |at: &usize| !sql[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    starts.filter(is_word).map(|at| part(&sql[at..])).collect()
}

fn part(sql: &str) -> &str {
    let mut depth = 0_i32;
    for (at, byte) in sql.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' if depth == 0 => return &sql[..at],
            b')' => depth -= 1,
            _ => {}
        }
    }
    sql
}

/// The CASE expressions of `sql`: no statement has one in another.
fn cases(sql: &str) -> impl Iterator<Item = &str> {
    sql.match_indices("CASE ").map(|(at, _)| {
        let case = &sql[at..];
        &case[..case.find("END").unwrap()]
    })
}

#[test]
fn updates_set_nothing_that_differs_by_where_they_run() {
    let mut updates = 0;
    for (file, sql) in statements() {
        for update in parts(&sql, "UPDATE webhook.") {
            updates += 1;
            let file = file.display();
            for function in VOLATILE {
                assert!(!update.contains(function), "{file}: {function}\n{update}");
            }
            for case in cases(update) {
                assert!(
                    !case.contains(STABLE),
                    "{file}: compute {STABLE} before\n{case}"
                );
            }
        }
        for update in parts(&sql, "DO UPDATE") {
            updates += 1;
            let set = update.split("RETURNING").next().unwrap();
            for function in VOLATILE.iter().chain(&[STABLE]) {
                assert!(
                    !set.contains(function),
                    "{}: take {function} from excluded\n{set}",
                    file.display()
                );
            }
        }
    }
    assert!(updates > 10, "{updates}");
}

#[test]
fn changes_return_columns_only() {
    for (file, sql) in statements() {
        for returning in parts(&sql, "RETURNING") {
            assert!(
                !returning.contains('('),
                "{}: compute it from a CTE\n{returning}",
                file.display()
            );
        }
    }
}

#[test]
fn parts_of_statements_are_found() {
    let sql = "WITH a AS (UPDATE webhook.x SET y = f(1)) UPDATE webhook.z SET y = 2";
    assert_eq!(
        parts(sql, "UPDATE webhook."),
        [
            "UPDATE webhook.x SET y = f(1)",
            "UPDATE webhook.z SET y = 2"
        ]
    );
    let sql = "CASE a WHEN 1 THEN 2 END, CASE WHEN b THEN c END";
    assert_eq!(cases(sql).count(), 2);
}
