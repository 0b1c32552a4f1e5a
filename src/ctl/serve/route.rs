//! What there is to be asked for, and how it is answered.

use super::{
    desk::{Found, Wanted},
    http::{Answer, Asked, Code, Kind},
};
use crate::{
    cli::tool::{Check, LEAST, Least},
    ctl::check::judge,
    fsm::id::Generation,
    protocol::typed::quoted,
};
use miniserde::json;
use std::{fs::File, io::Read as _};

/// The page, but for the word that tells its own script from any other.
const PAGE: &str = include_str!("page.html");
const NONCE: &str = "NONCE";

const PLACES: &str = "there are /, /metrics, /livez, /readyz and /status.json";

/// Where an answer comes from.
pub(super) enum Route {
    /// It is known already.
    Here(Answer),
    /// It is to be asked for.
    Desk(Wanted),
}

/// What a path stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Page,
    Metrics,
    Live,
    Ready,
    Status,
}

const PATHS: &[(&str, Place)] = &[
    ("/", Place::Page),
    ("/metrics", Place::Metrics),
    ("/livez", Place::Live),
    ("/readyz", Place::Ready),
    ("/status.json", Place::Status),
];

fn place(asked: &Asked) -> Option<Place> {
    PATHS.iter().find(|(path, _)| *path == asked.path).map(|(_, place)| *place)
}

/// Where the answer to this comes from.
pub(super) fn route(asked: &Asked) -> Route {
    match place(asked) {
        None => Route::Here(Answer::text(Code::Unknown, format!("nothing is here; {PLACES}\n"))),
        Some(Place::Page) => Route::Here(page()),
        Some(Place::Metrics) => Route::Desk(Wanted::Metrics),
        Some(Place::Status) => Route::Desk(Wanted::Page),
        Some(Place::Live) => Route::Desk(Wanted::Report),
        Some(Place::Ready) => match check(asked) {
            Ok(_) => Route::Desk(Wanted::Report),
            Err(why) => Route::Here(Answer::text(Code::Bad, why + "\n")),
        },
    }
}

/// The answer to this, by what was found out.
pub(super) fn answer(asked: &Asked, found: &Found) -> Answer {
    let place = place(asked);
    match found {
        Found::Report(report) => {
            if place == Some(Place::Live) {
                return Answer::text(Code::Fine, format!("einhyrningsins {} answers\n", report.version));
            }
            let finding = judge(report, &check(asked).unwrap_or(READY));
            let code = if finding.passes { Code::Fine } else { Code::Unavailable };
            Answer::text(code, finding.words + "\n")
        }
        Found::Written(text) => {
            let kind = if place == Some(Place::Metrics) { Kind::Metrics } else { Kind::Json };
            Answer::new(Code::Fine, kind, text.clone())
        }
        Found::Trouble(why) => match place {
            Some(Place::Metrics) => {
                let why = why.replace(['\n', '\r'], " ");
                let text = format!(
                    "# {why}\n# HELP einhyrningsins_up Whether the supervisor answers.\n\
                     # TYPE einhyrningsins_up gauge\neinhyrningsins_up 0\n"
                );
                Answer::new(Code::Unavailable, Kind::Metrics, text.into_bytes())
            }
            Some(Place::Status) => {
                let text = format!("{{\"ok\":false,\"message\":{}}}\n", json::to_string(&why.to_string()));
                Answer::new(Code::Unavailable, Kind::Json, text.into_bytes())
            }
            Some(Place::Live | Place::Ready | Place::Page) | None => {
                Answer::text(Code::Unavailable, format!("{why}\n"))
            }
        },
    }
}

const READY: Check = Check { least: Least::All, generation: None, wait: None };

/// What `check` would be told by its options is told here behind the question mark.
fn check(asked: &Asked) -> Result<Check, String> {
    let mut check = READY;
    for (name, value) in asked.parameters() {
        let refused = |accepted| format!("{name}={} is not accepted; accepted: {accepted}", quoted(&value));
        match name.as_str() {
            "min" => check.least = Least::parse(&value).ok_or_else(|| refused(LEAST))?,
            "generation" => {
                let number = value.parse().ok().filter(|number| *number > 0);
                let generation = number.ok_or_else(|| refused("the number of a generation"))?;
                check.generation = Some(Generation(generation));
            }
            _ => return Err(format!("unknown parameter {}; accepted: min, generation", quoted(&name))),
        }
    }
    Ok(check)
}

/// The page, which may run its own script and ask for its own data, and nothing else.
fn page() -> Answer {
    let mut random = [0; 16];
    let drawn = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random));
    // Without chance it runs no script rather than anybody's.
    let nonce: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let script = if drawn.is_ok() { format!("'nonce-{nonce}'") } else { "'none'".into() };
    let policy = format!(
        "Content-Security-Policy: default-src 'none'; script-src {script}; style-src 'unsafe-inline'; \
         connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\
         Referrer-Policy: no-referrer\r\nX-Frame-Options: DENY\r\n"
    );
    let page = PAGE.replace(NONCE, &nonce).into_bytes();
    Answer { extra: policy, ..Answer::new(Code::Fine, Kind::Page, page) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(target: &str) -> Asked {
        Asked::read(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes()).unwrap().unwrap()
    }

    fn here(target: &str) -> (Code, String) {
        let Route::Here(answer) = route(&asked(target)) else { panic!("{target} is asked for") };
        (answer.code, String::from_utf8(answer.body.to_vec()).unwrap())
    }

    #[test]
    fn what_there_is_not_is_refused_with_what_there_is() {
        for path in ["/nothing", "/metrics/", "//", "/../etc/passwd", "/%2e%2e/etc/passwd", "*"] {
            assert_eq!(here(path), (Code::Unknown, format!("nothing is here; {PLACES}\n")), "{path}");
        }
        for (path, why) in [
            ("/readyz?min=101%", "min=`101%` is not accepted; accepted: a number, or 0% to 100%\n"),
            (
                "/readyz?generation=0",
                "generation=`0` is not accepted; accepted: the number of a generation\n",
            ),
            ("/readyz?mni=3", "unknown parameter `mni`; accepted: min, generation\n"),
        ] {
            assert_eq!(here(path), (Code::Bad, why.into()), "{path}");
        }
    }

    #[test]
    fn the_page_asks_for_nothing_from_elsewhere_and_runs_its_own_script_only() {
        let Route::Here(page) = route(&asked("/")) else { panic!("the page is there") };
        let text = String::from_utf8(page.body.to_vec()).unwrap();
        for elsewhere in ["http://", "https://", "//cdn", "@import", "innerHTML", "eval(", NONCE] {
            assert!(!text.contains(elsewhere), "{elsewhere}");
        }
        let nonce = text.split("<script nonce=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(nonce.len(), 32);
        assert!(page.extra.contains(&format!("script-src 'nonce-{nonce}';")), "{}", page.extra);
        let Route::Here(other) = route(&asked("/")) else { panic!("the page is there") };
        assert_ne!(other.extra, page.extra);
    }

    #[test]
    fn trouble_is_told_in_the_form_that_was_asked_for() {
        let trouble = Found::Trouble("gone\n\"x\"".into());
        for (path, expected) in [
            ("/livez", "gone\n\"x\"\n"),
            ("/status.json", "{\"ok\":false,\"message\":\"gone\\n\\\"x\\\"\"}\n"),
        ] {
            let answer = answer(&asked(path), &trouble);
            assert_eq!((answer.code, &*answer.body), (Code::Unavailable, expected.as_bytes()), "{path}");
        }
        let answer = answer(&asked("/metrics"), &trouble);
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(text.starts_with("# gone \"x\"\n") && text.ends_with("\neinhyrningsins_up 0\n"), "{text}");
    }
}
