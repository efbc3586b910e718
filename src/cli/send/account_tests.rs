//! Scripts of answers, true and hostile, against the account.

use super::*;
use crate::wire::ack::parse;

struct Story {
    account: Account,
    now: Instant,
    out: Vec<u8>,
}

impl Story {
    fn new(lines: u64, resend_unknown: bool) -> Self {
        let now = Instant::now();
        let limits = Limits { lines: 1000, bytes: 1 << 20 };
        let mut story = Self { account: Account::new(limits, resend_unknown, now), now, out: Vec::new() };
        (1..=lines).for_each(|line| story.account.push(line, format!("l{line}").as_bytes(), now));
        story
    }

    /// What goes out now.
    fn send(&mut self) -> String {
        self.out.clear();
        self.account.poll_send(&mut self.out, 1 << 20, self.now);
        String::from_utf8_lossy(&self.out).replace('\n', " ").trim_end().to_owned()
    }

    fn hear(&mut self, answers: &str) -> Result<(), Violation> {
        answers.split(';').try_for_each(|line| {
            let answer = parse(line.trim().as_bytes()).expect(line);
            let result = self.account.handle_answer(answer, self.now);
            self.check();
            result
        })
    }

    fn failures(&mut self) -> String {
        let mut failures = Vec::new();
        self.account.take_failures(&mut failures);
        let words = failures.iter().map(|f| format!("{}:{}:{}", f.line, f.fate.word(), f.code));
        words.collect::<Vec<_>>().join(" ")
    }

    /// The books balance, and the counters say what the ring holds.
    fn check(&self) {
        let (a, t) = (&self.account, self.account.totals);
        assert_eq!(t.lines, t.stored + t.rejected + t.not_stored + t.unknown + a.live_lines as u64, "{t:?}");
        let live = a.entries.iter().filter(|entry| !entry.settled);
        assert_eq!(live.clone().count(), a.live_lines);
        assert_eq!(live.map(|entry| entry.len as usize).sum::<usize>(), a.live_bytes);
        assert_eq!(a.entries.iter().map(|entry| entry.len as usize).sum::<usize>(), a.bytes.len());
        assert_eq!(a.settled_bytes + a.live_bytes, a.bytes.len());
    }
}

#[test]
fn plus_stores_everything_up_to_it_that_is_not_named() {
    let mut story = Story::new(6, false);
    assert_eq!(story.send(), "l1 l2 l3 l4 l5 l6");
    story.hear("- 2 fix bad_json at byte 3; ? 4 timed_out; + 3; + 5").unwrap();
    assert_eq!(story.failures(), "2:rejected:bad_json 4:unknown:timed_out");
    assert_eq!((story.account.totals.stored, story.account.waiting()), (3, 1));
    story.hear("+ 6; . 6").unwrap();
    assert_eq!((story.account.totals.stored, story.account.waiting(), story.account.bytes.len()), (4, 0, 0));
}

#[test]
fn a_line_to_retry_goes_out_again_after_a_pause_under_a_new_number() {
    let mut story = Story::new(3, false);
    story.send();
    story.hear("- 1 retry not_leader; + 2").unwrap();
    story.account.push(4, b"l4", story.now);
    assert_eq!(story.send(), "", "the pause has begun");
    story.now += PAUSE_MIN;
    assert_eq!(story.send(), "l1 l4");
    story.hear("+ 5").unwrap();
    assert_eq!((story.account.totals.stored, story.account.totals.resent), (4, 1));
    assert_eq!(story.failures(), "");
}

#[test]
fn pauses_double_until_something_is_stored() {
    let mut story = Story::new(1, false);
    let mut pauses = Vec::new();
    for n in 1..=8 {
        assert_eq!(story.send(), "l1");
        story.hear(&format!("- {n} retry away")).unwrap();
        let left = story.account.pause_left(story.now).unwrap();
        pauses.push(left.as_millis());
        story.now += left;
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    story.send();
    story.hear("+ 9").unwrap();
    story.account.push(2, b"l2", story.now);
    story.send();
    story.hear("- 10 retry away").unwrap();
    assert_eq!(story.account.pause_left(story.now), Some(PAUSE_MIN));
}

#[test]
fn a_broken_connection_makes_open_lines_unknown_and_keeps_the_rest() {
    let mut story = Story::new(5, false);
    story.account.poll_send(&mut story.out, 12, story.now); // l1 to l4
    story.hear("+ 1; - 2 retry away").unwrap();
    // l4 and half of l3 were never written.
    story.account.handle_disconnect(4, story.now);
    story.check();
    assert_eq!(story.failures(), "3:unknown:connection_lost");
    story.now += PAUSE_MIN;
    assert_eq!(story.send(), "l4 l5 l2");
    story.hear("+ 3").unwrap();
    assert_eq!((story.account.totals.stored, story.account.waiting()), (4, 0));
}

#[test]
fn with_resend_unknown_open_lines_go_out_again() {
    let mut story = Story::new(4, true);
    story.send();
    story.hear("+ 1; ? 2 timed_out").unwrap();
    story.account.handle_disconnect(0, story.now);
    story.check();
    let mut again: Vec<_> = story.send().split(' ').map(str::to_owned).collect();
    again.sort();
    assert_eq!((again.join(" ").as_str(), story.failures().as_str()), ("l2 l3 l4", ""));
    story.hear("+ 3").unwrap();
    assert_eq!((story.account.totals.stored, story.account.waiting()), (4, 0));
}

#[test]
fn what_a_closed_account_did_not_count_is_sent_on_the_next_connection() {
    let mut story = Story::new(4, false);
    story.send();
    story.hear("+ 1; . 2").unwrap();
    assert_eq!(story.failures(), "2:unknown:unaccounted", "closed without naming it");
    assert_eq!(story.send(), "", "nothing more on this connection");
    assert_eq!(story.hear("+ 2"), Err(Violation::AfterClose));
    story.account.handle_disconnect(0, story.now);
    assert_eq!(story.send(), "l3 l4");
    story.hear("+ 2; . 2").unwrap();
    assert_eq!((story.account.totals.stored, story.account.waiting()), (3, 0));
}

#[test]
fn answers_that_cannot_be_true_are_violations_and_change_nothing() {
    let cases = [
        ("+ 4", Violation::Beyond { n: 4, sent: 3 }),
        ("+ 18446744073709551615", Violation::Beyond { n: u64::MAX, sent: 3 }),
        ("- 4 fix x", Violation::Beyond { n: 4, sent: 3 }),
        ("? 4 x", Violation::Beyond { n: 4, sent: 3 }),
        (". 4", Violation::Beyond { n: 4, sent: 3 }),
        ("+ 2; + 1", Violation::Backwards { n: 1, after: 2 }),
        ("+ 2; . 1", Violation::Backwards { n: 1, after: 2 }),
        ("- 3 fix x; . 2", Violation::Backwards { n: 2, after: 3 }),
        ("+ 2; - 2 retry x", Violation::Twice { n: 2 }),
        ("- 3 fix x; ? 3 x", Violation::Twice { n: 3 }),
        ("- 1 fix x; - 1 fix x", Violation::Twice { n: 1 }),
        ("- 0 fix x", Violation::Twice { n: 0 }),
        ("? 0 x", Violation::Twice { n: 0 }),
    ];
    for (script, violation) in cases {
        let mut story = Story::new(3, false);
        story.send();
        assert_eq!(story.hear(script), Err(violation), "{script}");
        story.account.give_up(story.now);
        story.check();
        assert_eq!(story.account.waiting(), 0, "{script}");
    }
    let mut story = Story::new(3, false);
    assert_eq!(story.hear("+ 0"), Ok(()), "says nothing, and nothing false");
    assert_eq!(story.hear("+ 1"), Err(Violation::Beyond { n: 1, sent: 0 }), "nothing went out yet");
}

#[test]
fn giving_up_tells_sent_lines_from_unsent_and_retried_ones() {
    let mut story = Story::new(3, true);
    story.account.poll_send(&mut story.out, 4, story.now); // l1, l2
    story.hear("- 1 retry away for now").unwrap();
    story.account.give_up(story.now);
    story.check();
    assert_eq!(story.failures(), "2:unknown:connection_lost 3:not_stored:not_sent 1:not_stored:gave_up");
    assert_eq!((story.account.waiting(), story.account.bytes.len()), (0, 0));
}

#[test]
fn room_is_bounded_by_lines_and_bytes_but_one_long_line_always_passes() {
    let now = Instant::now();
    let mut account = Account::new(Limits { lines: 2, bytes: 10 }, false, now);
    assert!(account.has_room(1000));
    account.push(1, b"abc", now);
    assert!(account.has_room(5) && !account.has_room(6));
    account.push(2, b"d", now);
    assert!(!account.has_room(0), "two lines are the most");
}

#[test]
fn memory_stays_bounded_when_one_line_stays_open_and_all_others_are_retried_for_ever() {
    let mut story = Story::new(1000, false);
    let (mut sent_on, mut most) = (2, 0);
    for _ in 0..100 {
        story.out.clear();
        story.account.poll_send(&mut story.out, 1 << 20, story.now);
        let last = story.account.sent_count();
        for n in sent_on..=last {
            let answer = Answer::Retry { n, code: "away", detail: "" };
            story.account.handle_answer(answer, story.now).unwrap();
        }
        sent_on = last + 1;
        most = most.max(story.account.entries.len());
        story.now += PAUSE_MAX;
    }
    story.check();
    assert!(most <= 3000, "{most} entries for a window of 1000");
    story.hear(&format!("+ {}", story.account.sent_count())).unwrap();
    assert_eq!(story.account.settled_lines, 0);
}

#[test]
fn a_stall_is_counted_from_the_last_settled_line_and_only_while_lines_wait() {
    let mut story = Story::new(0, false);
    story.now += Duration::from_secs(50);
    assert_eq!(story.account.stalled(story.now), Duration::ZERO);
    story.account.push(1, b"a", story.now);
    story.account.push(2, b"b", story.now);
    story.now += Duration::from_secs(5);
    assert_eq!(story.account.stalled(story.now), Duration::from_secs(5));
    story.send();
    story.hear("+ 1").unwrap();
    assert_eq!(story.account.stalled(story.now), Duration::ZERO);
}

/// Random true and false answers: the books always balance and nothing panics.
#[test]
fn random_scripts_keep_the_books() {
    for seed in 0..2000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut story = Story::new(random.u64(0..20), random.bool());
        for step in 0..60 {
            let lie = u64::from(random.u8(0..20) == 0);
            let n = random.u64(0..=story.account.sent_count() + lie);
            let answer = match random.u8(0..9) {
                0 => {
                    let max = random.usize(1..30);
                    story.out.clear();
                    story.account.poll_send(&mut story.out, max, story.now);
                    continue;
                }
                1 => {
                    let unwritten = random.usize(0..=story.out.len());
                    story.account.handle_disconnect(unwritten, story.now);
                    story.out.clear();
                    story.check();
                    continue;
                }
                2 => {
                    story.account.push(100 + step, b"more", story.now);
                    continue;
                }
                3 => {
                    story.now += PAUSE_MAX;
                    continue;
                }
                4 => Answer::Retry { n, code: "r", detail: "" },
                5 => Answer::Fix { n, code: "f", detail: "" },
                6 => Answer::Unknown { n, code: "u" },
                7 if random.u8(0..4) == 0 => Answer::Closed(n),
                _ => Answer::Stored(n),
            };
            if story.account.handle_answer(answer, story.now).is_err() {
                story.account.handle_disconnect(0, story.now);
                story.out.clear();
            }
            story.check();
        }
        story.account.give_up(story.now);
        story.check();
        assert_eq!((story.account.waiting(), story.account.bytes.len()), (0, 0), "seed {seed}");
    }
}
