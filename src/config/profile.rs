//! Profiles: the defaults of one source service instead of Sluice's own, under one name.
//!
//! A profile sets defaults and nothing else: whatever it says, the variable itself says otherwise. One thing more
//! depends on it: the sources call their one topic KAFKA_TOPIC, so in a profile with one route that is the route's.

use super::table::{self, Variable};

/// Whose defaults hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Sluice's own: every listener and route.
    #[default]
    All,
    /// S0, the TCP gateway for scores.
    Scores,
    /// S3, the HTTP ingestor.
    Ingest,
    /// S4, the event service of the gaming pipeline.
    Games,
}

/// The variable that names the profile.
pub const VARIABLE: &str = "PROFILE";

impl Profile {
    pub const ALL: [Self; 4] = [Self::All, Self::Scores, Self::Ingest, Self::Games];
    /// The words of [`VARIABLE`], in the order of [`Profile::ALL`].
    pub const NAMES: [&str; 4] = ["all", "scores", "ingest", "games"];

    /// The profile that an environment asks for; a word that is none is found as a fault later.
    pub(super) fn of(text: Option<&str>) -> Self {
        let named = |name: &&str| text.is_some_and(|text| text.eq_ignore_ascii_case(name));
        Self::NAMES.iter().position(named).map_or(Self::All, |at| Self::ALL[at])
    }

    /// Where its defaults differ from the table's, as (row, default).
    #[must_use]
    pub fn defaults(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::All => &[],
            Self::Scores => &[("HTTP_PORT", "off")],
            Self::Ingest => &[
                ("GATEWAY_LISTEN_PORT", "off"),
                ("HEALTH_PORT", "off"),
                ("PLAYER_EVENTS_TOPIC", "off"),
                ("BUFFER_MAX_MSGS", "1000"),
                ("RATE_LIMIT_ENABLED", "true"),
                ("EVENTS_LAYOUT", "ingest"),
                ("LOG_FORMAT", "json"),
            ],
            Self::Games => &[
                ("GATEWAY_LISTEN_PORT", "off"),
                ("HEALTH_PORT", "off"),
                ("EVENTS_TOPIC", "off"),
                ("KAFKA_PARTITIONS", "3"),
                ("KAFKA_LINGER_MS", "10"),
                ("HTTP_REQUEST_TIMEOUT", "5s"),
                ("RATE_LIMIT_ENABLED", "true"),
                ("RATE_LIMIT_RPS", "10000"),
                ("RATE_LIMIT_BURST", "1000"),
                ("KAFKA_DLQ_TOPIC", "system.dlq"),
            ],
        }
    }

    /// What a row is when nobody gives it.
    pub(super) fn default_of(self, row: &Variable) -> &'static str {
        let own = self.defaults().iter().find(|(name, _)| *name == row.name);
        own.map_or(row.default, |(_, default)| default)
    }

    /// The row that a variable's name stands for.
    pub(super) fn row(self, name: &str) -> Option<&'static Variable> {
        table::find(match (self, name) {
            (Self::Ingest, "KAFKA_TOPIC") => "EVENTS_TOPIC",
            (Self::Games, "KAFKA_TOPIC") => "PLAYER_EVENTS_TOPIC",
            _ => name,
        })
    }

    /// Topics that are created beside those that are written, or in another shape, as KAFKA_CREATE_TOPICS has it
    /// (S4-R6); `player_events` and `letters` are the names in effect, empty for one that is off.
    pub(super) fn creations(self, player_events: &str, letters: &str) -> String {
        if self != Self::Games {
            return String::new();
        }
        let written = [(player_events, "::7d"), (letters, ":1:30d")];
        let mut topics: Vec<String> = written
            .iter()
            .filter(|(name, _)| !name.is_empty())
            .map(|(name, shape)| format!("{name}{shape}"))
            .collect();
        let beside = ["player.events.processed::7d", "player.statistics::30d", "game.leaderboards:1:30d"];
        topics.extend(beside.map(String::from));
        topics.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_of_a_row_and_differs_from_its_own() {
        for (name, default) in Profile::ALL.iter().flat_map(|profile| profile.defaults()) {
            let row = table::find(name).expect(name);
            assert!(row.name == *name && row.default != *default, "{name}");
            assert!(super::super::parse::parse(row.kind, default).is_ok(), "{name}={default}");
        }
    }

    #[test]
    fn a_profile_is_found_by_its_name() {
        assert_eq!(Profile::of(Some("GAMES")), Profile::Games);
        assert_eq!((Profile::of(None), Profile::of(Some("x"))), (Profile::All, Profile::All));
    }
}
