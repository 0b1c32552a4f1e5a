//! Screens as they are drawn from fixed data, and what keys do to them.

use super::{
    draw::{draw, fit},
    keys::Key,
    look::Look,
    model::{Effect, Event, Link, Model, News},
    usage::{Usage, Usages},
};
use crate::ctl::report::Report;
use miniserde::json;
use ratatui::{buffer::Buffer, layout::Rect, style::Color};
use std::time::Duration;

const LOOK: Look = Look { colours: false, unicode: true };
const README: &str = include_str!("../../../README.md");

fn worker(name: u32, slot: u32, generation: u32, phase: &str, rest: &str) -> String {
    let (phase, detail) = phase
        .split_once('/')
        .map_or((phase, "null".into()), |(phase, detail)| (phase, format!("\"{detail}\"")));
    format!(
        "{{\"worker\":{name},\"slot\":{slot},\"pid\":{},\"generation\":{generation},\"phase\":\"{phase}\",\
         \"detail\":{detail},\"ready\":null,\"age_ms\":{},\"restarts\":{},\"last_exit\":null,\"last_ping_ms\":null{rest}}}",
        1_000 + name,
        name * 61_000,
        slot % 3
    )
}

fn slot(number: u32, rest: &str) -> String {
    let quiet = "\"failures\":0,\"lacks\":0,\"last_failure\":null,\"retry_in_ms\":null,\"gave_up\":false";
    let rest = if rest.is_empty() { quiet } else { rest };
    format!("{{\"slot\":{number},\"restarts\":{},\"last_exit\":null,{rest}}}", number % 3)
}

const FAILING: &str = "\"failures\":3,\"lacks\":0,\"last_failure\":{\"kind\":\"exited\",\"message\":\"exited with status 1\"},\
                       \"retry_in_ms\":2250,\"gave_up\":false";

fn status(head: &str, slots: &[String], workers: &[String]) -> Box<Report> {
    let text = format!(
        "{{\"pid\":4242,\"name\":\"web\",\"version\":\"0.1.0\",\"uptime_ms\":10920000,\"listeners\":[],{head},\
         \"slots\":[{}],\"workers\":[{}]}}",
        slots.join(","),
        workers.join(",")
    );
    Box::new(json::from_str(&text).unwrap_or_else(|_| panic!("{text}")))
}

fn head(generation: u32, healthy: u32, own: u32, target: u32, upgrade: &str, queue: u32) -> String {
    format!(
        "\"generation\":{generation},\"target\":{target},\"healthy\":{healthy},\"healthy_of_generation\":{own},\
         \"upgrade\":{upgrade},\"stopping\":null,\"sockets\":[{{\"address\":\"127.0.0.1:8080\",\"name\":\"http\",\
         \"from\":\"bind\",\"queue\":{queue},\"queue_limit\":128}},{{\"address\":\"/run/web.sock\",\"name\":null,\
         \"from\":\"bind\"}}]"
    )
}

const STOPPED: &str = ",\"stopped\":true,\"status\":null";
const RUNS: &str = ",\"stopped\":false,\"status\":null";
const SAYS: &str = ",\"stopped\":false,\"status\":\"12 requests\"";

const UPGRADE: &str = "{\"generation\":8,\"strategy\":\"rolling\",\"rolling_back\":false,\"stage\":\"spread\",\
                       \"untouched\":1,\"unready\":1,\"trial_left_ms\":null,\"waiting_for\":\"1 worker to become healthy\",\
                       \"healthy\":2,\"retired\":2,\"age_ms\":3200}";

fn amid_an_upgrade(queue: u32) -> Box<Report> {
    let slots = [slot(0, ""), slot(1, ""), slot(2, ""), slot(3, FAILING)];
    let workers = [
        worker(9, 0, 8, "healthy", SAYS),
        worker(2, 1, 7, "draining/stop", RUNS),
        worker(10, 1, 8, "healthy", RUNS),
        worker(3, 2, 7, "healthy", STOPPED),
        worker(11, 2, 8, "pending-ack", RUNS),
    ];
    status(&head(7, 3, 1, 4, UPGRADE, queue), &slots, &workers)
}

fn usages() -> Usages {
    let usage = |cpu, rss, pss| Usage { cpu: Some(cpu), rss, pss };
    [
        (1_009, usage(12.34, 52_000, Some(18_500))),
        (1_002, usage(0.0, 51_000, Some(17_000))),
        (1_010, usage(99.0, 150_000, Some(120_000))),
        (1_003, usage(0.0, 900, None)),
        (1_011, Usage { cpu: None, rss: 2_000, pss: None }),
    ]
    .into()
}

fn event(seq: u64, level: &str, message: &str) -> News {
    News::Event(Event {
        seq,
        at_ms: 1_798_761_590_000 + seq * 1_000,
        level: level.into(),
        message: message.into(),
    })
}

/// A view amid an upgrade.
fn upgrading() -> Model {
    let mut model = Model::new();
    for (second, queue) in (0..).zip([0, 0, 1, 3, 7, 20, 64, 32, 9, 3]) {
        let now = Duration::from_secs(second);
        model.hear(News::Report(amid_an_upgrade(queue), usages()), now);
    }
    model.hear(event(1, "info", "upgrade to generation 8 begins"), Duration::from_secs(9));
    model.hear(
        event(2, "info", "worker 9: pid 1009 in slot 0, generation 8, is healthy after 1.2 s"),
        Duration::ZERO,
    );
    model.hear(
        event(3, "warn", "worker 12: pid 1012 in slot 3, generation 8, exited with status 1"),
        Duration::ZERO,
    );
    model
}

fn many(count: u32) -> Model {
    let workers: Vec<String> = (0..count)
        .map(|number| {
            let phase = if number % 100 == 7 { "pending-ack" } else { "healthy" };
            worker(number + 1, number, if number < 10 { 2 } else { 1 }, phase, RUNS)
        })
        .collect();
    let slots: Vec<String> = (0..count).map(|number| slot(number, "")).collect();
    let mut model = Model::new();
    model.hear(
        News::Report(status(&head(1, count, count, count, "null", 0), &slots, &workers), Usages::new()),
        Duration::ZERO,
    );
    model
}

fn drawn(model: &mut Model, look: Look, now: u64, width: u16, height: u16) -> Buffer {
    let area = Rect::new(0, 0, width, height);
    let now = Duration::from_secs(now);
    fit(model, now, area);
    let mut buffer = Buffer::empty(area);
    draw(model, look, now, area, &mut buffer);
    buffer
}

fn lines(model: &mut Model, width: u16, height: u16) -> Vec<String> {
    let buffer = drawn(model, LOOK, 9, width, height);
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(row).collect()
}

fn shown(model: &mut Model, width: u16, height: u16) -> String {
    lines(model, width, height).join("\n")
}

fn press(model: &mut Model, keys: &str) -> Option<Effect> {
    let key = |letter| match letter {
        '\n' => Key::Enter,
        '\u{1b}' => Key::Esc,
        letter => Key::Letter(letter),
    };
    keys.chars().map(key).fold(None, |_, key| model.press(key))
}

fn tell(words: &[&str]) -> Option<Effect> {
    Some(Effect::Tell(words.iter().map(|word| (*word).to_owned()).collect()))
}

#[test]
fn amid_an_upgrade_the_readme_shows_what_is_drawn() {
    let screen = shown(&mut upgrading(), 80, 24);
    let section = README.split("\n### Live view\n").nth(1).expect("a section");
    let block =
        section.split("\n```").nth(1).and_then(|block| block.split_once('\n')).expect("a code block").1;
    assert_eq!(block, screen, "\n{screen}");
}

#[test]
fn what_matters_fits_the_smallest_terminal() {
    let expected = "\
web  3/4 healthy  generation 7  pid 4242
upgrading to 8: 2/4 healthy, 2 retired
[spread]  waits for 1 worker to become …
 SLOT PHASE              PID  CPU%  NOTE
    0 healthy           1009  12.3  12 …
    1 draining/stop     1002   0.0

q quit ? help g r + - ask first: u a s";
    assert_eq!(shown(&mut upgrading(), 40, 8), expected);
}

#[test]
fn a_terminal_that_is_too_small_says_so_and_recovers() {
    let mut model = upgrading();
    for (width, height) in [(39, 8), (40, 7), (20, 2)] {
        assert_eq!(lines(&mut model, width, height)[0], format!("needs 40x8, is {width}x{height}"));
    }
    assert_eq!(lines(&mut model, 5, 1)[0], "need…");
    assert!(lines(&mut model, 40, 8)[0].starts_with("web  3/4 healthy"));
}

#[test]
fn every_size_is_drawn_from_nothing_to_a_wall() {
    let mut gone = upgrading();
    gone.hear(News::Gone("x\u{1b}[31m".repeat(100)), Duration::from_secs(9));
    for mut model in [Model::new(), upgrading(), gone, many(3)] {
        for width in [0, 1, 2, 5, 39, 40, 41, 59, 60, 77, 80, 132, 1_000] {
            for height in (0..30).chain([100]) {
                drawn(&mut model, LOOK, 9, width, height);
            }
        }
        press(&mut model, "?");
        for (width, height) in [(40, 8), (41, 9), (80, 24)] {
            drawn(&mut model, LOOK, 9, width, height);
        }
    }
}

#[test]
fn before_the_first_answer_it_says_so() {
    let screen = lines(&mut Model::new(), 80, 24);
    assert_eq!(screen[0], "einhyrningsins: no answer yet");
    let mut silent = Model::new();
    silent.hear(News::Silent("pid 7: it is stopped".into()), Duration::from_secs(4));
    assert_eq!(lines(&mut silent, 80, 24)[1], "NO ANSWER for 9.0 s: pid 7: it is stopped");
}

#[test]
fn that_nobody_serves_is_said_first_and_why() {
    let mut model = Model::new();
    let slots = [slot(0, FAILING), slot(1, FAILING)];
    let workers = [worker(5, 0, 1, "spawning/wanted", RUNS)];
    model.hear(
        News::Report(status(&head(1, 0, 0, 2, "null", 0), &slots, &workers), Usages::new()),
        Duration::ZERO,
    );
    let screen = lines(&mut model, 80, 12);
    assert_eq!(screen[0], "web  0/2 healthy  generation 1  pid 4242  up 3 h 2 min  einhyrningsins 0.1.0");
    assert_eq!(screen[1], "NO WORKER IS HEALTHY: 2 slots fail; slot 1: failed 3 times: exited with status …");
    let row = "    1 failing        failed 3 times: exited with status 1; next try in 2.2 s";
    assert!(screen.iter().any(|line| line == row), "{screen:?}");
}

#[test]
fn of_a_supervisor_that_is_gone_it_says_so_and_since_when_and_all_else_stays() {
    let mut model = upgrading();
    let before = lines(&mut model, 80, 24);
    model.hear(News::Gone("cannot reach it\u{1b}[2J".into()), Duration::from_secs(12));
    let now = drawn(&mut model, LOOK, 71, 80, 24);
    let second: String = (0..80).map(|x| now[(x, 1)].symbol()).collect();
    assert_eq!(second.trim_end(), "NO ANSWER for 1 min 2 s: cannot reach it\\u{1b}[2J");
    let after = lines(&mut model, 80, 24);
    assert_eq!(after[2..10], before[1..9]);
    model.hear(News::Report(amid_an_upgrade(0), usages()), Duration::from_secs(72));
    assert_eq!(model.link, Link::Live);
    assert_eq!(lines(&mut model, 80, 24)[1], before[1]);
}

#[test]
fn a_thousand_workers_scroll_and_the_chosen_one_is_on_the_screen() {
    let mut model = many(1_000);
    let screen = lines(&mut model, 80, 24);
    assert!(screen.contains(&"(1-13 of 1000) slot 0: healthy".to_owned()), "{screen:?}");
    for (key, place, slot) in [
        (Key::End, "988-1000", 999),
        (Key::PageUp, "988-1000", 987),
        (Key::Up, "987-999", 986),
        (Key::PageUp, "975-987", 974),
        (Key::Home, "1-13", 0),
        (Key::Letter('j'), "1-13", 1),
        (Key::PageDown, "2-14", 13),
        (Key::Letter('k'), "2-14", 12),
    ] {
        model.press(key);
        let expected = format!("({place} of 1000) slot {slot}: healthy");
        let screen = lines(&mut model, 80, 24);
        assert!(screen.contains(&expected), "{expected} in {screen:?}");
    }
    assert_eq!(model.on_screen(), (1_002..1_015).collect::<Vec<_>>());
}

#[test]
fn what_was_chosen_stays_so_while_others_come_and_go() {
    let mut model = upgrading();
    press(&mut model, "jj");
    assert_eq!(model.chosen().unwrap().worker, 10);
    let workers = [
        worker(1, 0, 8, "healthy", RUNS),
        worker(9, 0, 8, "healthy", RUNS),
        worker(2, 1, 7, "healthy", RUNS),
        worker(10, 1, 8, "healthy", RUNS),
    ];
    let report = || status(&head(8, 4, 4, 2, "null", 0), &[slot(0, ""), slot(1, "")], &workers);
    model.hear(News::Report(report(), usages()), Duration::ZERO);
    assert_eq!(model.chosen().unwrap().worker, 10);
    let rest = status(&head(8, 1, 1, 2, "null", 0), &[slot(0, "")], &workers[..1]);
    model.hear(News::Report(rest, usages()), Duration::ZERO);
    assert_eq!(model.chosen().unwrap().worker, 1, "what is in its place");
}

#[test]
fn groups_are_a_line_each_and_open() {
    let mut model = many(1_000);
    press(&mut model, "g");
    let rows = |model: &mut Model| -> Vec<String> {
        let screen = lines(model, 80, 24);
        let title = screen.iter().position(|line| line.starts_with(" SLOT")).unwrap();
        screen[title + 1..title + 6].to_vec()
    };
    let closed = [
        "+ 981 healthy of generation 1",
        "+   9 pending-ack of generation 1",
        "+   9 healthy of generation 2",
        "+   1 pending-ack of generation 2",
        "",
    ];
    assert_eq!(rows(&mut model), closed);
    press(&mut model, "jjj\nj");
    let open = rows(&mut model);
    assert_eq!(open[3], "-   1 pending-ack of generation 2");
    assert!(open[4].starts_with("    7 pending-ack       1008    2 "), "{open:?}");
    press(&mut model, "\n");
    assert_eq!(rows(&mut model), closed, "also by a member");
    press(&mut model, "g");
    assert!(rows(&mut model)[0].starts_with("    0 healthy"));
}

#[test]
fn what_changes_the_service_is_asked_for_first() {
    let mut model = upgrading();
    for (keys, effect) in [
        ("u", None),
        ("n", None),
        ("uy", tell(&["upgrade"])),
        ("u\u{1b}", None),
        ("ay", tell(&["abort"])),
        ("ax", None),
        ("+", tell(&["inc"])),
        ("-", tell(&["dec"])),
        ("r", tell(&["retry"])),
        ("shup\nwy", tell(&["signal", "HUP", "1009"])),
        ("shup\nay", tell(&["signal", "HUP"])),
        ("shup\nan", None),
        ("shup\n\u{1b}", None),
        ("s\u{1b}", None),
        ("s\n", None),
        ("?", None),
        ("u", None),
        ("q", Some(Effect::Quit)),
        ("\u{1b}", Some(Effect::Quit)),
    ] {
        assert_eq!(press(&mut model, keys), effect, "{keys:?}");
    }
    press(&mut model, "sfrob\n");
    let wrong = model.question().unwrap();
    assert!(wrong.starts_with("signal: `FROB` is not ") && wrong.ends_with(": "), "{wrong}");
    assert_eq!(press(&mut model, "usr1\nay"), tell(&["signal", "USR1"]));
    press(&mut model, "sterm");
    assert_eq!(model.press(Key::Ctrl('c')), Some(Effect::Quit));
}

#[test]
fn answers_are_shown_refusals_as_such_and_progress_until_then() {
    let mut model = upgrading();
    let last = |model: &mut Model| lines(model, 80, 24)[22].clone();
    model.begin(1, &["upgrade".to_owned()]);
    assert_eq!(last(&mut model), "upgrade: asked");
    model.hear(News::Progress(1, "upgrade: generation 2: 1/4".into()), Duration::ZERO);
    assert_eq!(last(&mut model), "upgrade: generation 2: 1/4");
    model.hear(News::Answer(1, false, "upgrade: no\n\u{1b}".into()), Duration::ZERO);
    assert_eq!(last(&mut model), "REFUSED: upgrade: no / \\u{1b}");
    model.begin(2, &["inc".to_owned()]);
    model.hear(News::Answer(2, true, "inc: 4 → 5".into()), Duration::ZERO);
    assert_eq!(last(&mut model), "inc: 4 → 5");
}

#[test]
fn events_come_once_however_often_they_are_told() {
    let mut model = upgrading();
    model.hear(event(2, "info", "again"), Duration::ZERO);
    model.hear(event(4, "error", "new\u{1b}[2J"), Duration::ZERO);
    model.hear(News::Missed(7), Duration::ZERO);
    let screen = lines(&mut model, 80, 30);
    let at = screen.iter().position(|line| line == "EVENTS (UTC)").unwrap();
    assert_eq!(screen[at + 4..at + 6], ["23:59:54 new\\u{1b}[2J", "23:59:54 7 events are missing here"]);
    let mut old = many(1);
    old.hear(News::NoEvents("unknown command `events`".into()), Duration::ZERO);
    let screen = lines(&mut old, 80, 24);
    assert!(screen.contains(&"EVENTS: none: unknown command `events`".to_owned()), "{screen:?}");
}

#[test]
fn nothing_that_anybody_says_gives_orders_to_the_terminal() {
    let hostile = "\u{1b}]0;me\u{7}\u{9b}2J\u{202e}";
    let escaped = "\\u{1b}]0;me\\u{7}\\u{9b}2J\\u{202e}";
    let mut report = *amid_an_upgrade(0);
    report.name = Some(hostile.into());
    report.version = hostile.into();
    report.stopping = Some(hostile.into());
    for worker in &mut report.workers {
        (worker.phase, worker.detail, worker.status) =
            (hostile.into(), Some(hostile.into()), Some(hostile.into()));
    }
    for socket in &mut report.sockets {
        (socket.address, socket.name) = (hostile.into(), Some(hostile.into()));
    }
    for slot in &mut report.slots {
        if let Some(last) = &mut slot.last_failure {
            last.message = hostile.into();
        }
    }
    if let Some(upgrade) = &mut report.upgrade {
        (upgrade.stage, upgrade.waiting_for, upgrade.strategy) =
            (hostile.into(), hostile.into(), hostile.into());
    }
    let mut model = Model::new();
    model.hear(News::Report(Box::new(report), Usages::new()), Duration::ZERO);
    model.hear(event(1, hostile, hostile), Duration::ZERO);
    model.hear(News::Answer(1, true, hostile.into()), Duration::ZERO);
    model.hear(News::Silent(hostile.into()), Duration::ZERO);
    for keys in ["", "g", "\n"] {
        press(&mut model, keys);
        let screen = lines(&mut model, 300, 40).concat();
        assert!(screen.contains(escaped), "{screen}");
        assert!(!screen.contains(|char: char| char.is_control() || char == '\u{202e}'), "{screen:?}");
    }
}

#[test]
fn without_colours_nothing_has_one_and_with_them_something_has() {
    let has = |colours| {
        let buffer = drawn(&mut upgrading(), Look { colours, ..LOOK }, 9, 80, 24);
        buffer.content.iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    assert!(has(true) && !has(false));
    let buffer = drawn(&mut upgrading(), Look { unicode: false, colours: false }, 9, 30, 8);
    assert!(buffer.content.iter().all(|cell| cell.symbol().is_ascii()));
}
