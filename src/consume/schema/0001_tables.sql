-- S4's tables with S4's columns: times with their zone, indexes as PostgreSQL has them, totals that do not overflow.
CREATE TABLE IF NOT EXISTS events (
    event_id UUID PRIMARY KEY,
    event_type VARCHAR(100) NOT NULL,
    player_id VARCHAR(100) NOT NULL,
    game_id VARCHAR(100) NOT NULL,
    event_timestamp TIMESTAMPTZ NOT NULL,
    ingested_at TIMESTAMPTZ NOT NULL,
    data JSONB DEFAULT '{}',
    created_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX IF NOT EXISTS idx_player_id ON events (player_id);
CREATE INDEX IF NOT EXISTS idx_game_id ON events (game_id);
CREATE INDEX IF NOT EXISTS idx_event_type ON events (event_type);
CREATE INDEX IF NOT EXISTS idx_timestamp ON events (event_timestamp);

CREATE TABLE IF NOT EXISTS player_statistics (
    player_id VARCHAR(100) PRIMARY KEY,
    total_events BIGINT DEFAULT 0,
    event_breakdown JSONB DEFAULT '{}',
    last_event TIMESTAMPTZ,
    updated_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP,
    created_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE IF NOT EXISTS leaderboards (
    game_id VARCHAR(100) NOT NULL,
    player_id VARCHAR(100) NOT NULL,
    rank INTEGER NOT NULL,
    score BIGINT NOT NULL,
    period VARCHAR(50) NOT NULL,
    updated_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP,
    created_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (game_id, player_id, period)
);
CREATE INDEX IF NOT EXISTS idx_game_period ON leaderboards (game_id, period);
CREATE INDEX IF NOT EXISTS idx_rank ON leaderboards (rank);

-- Every score of every period, from which a board that was lost is built anew.
CREATE TABLE IF NOT EXISTS leaderboard_scores (
    game_id VARCHAR(100) NOT NULL,
    period VARCHAR(50) NOT NULL,
    player_id VARCHAR(100) NOT NULL,
    score BIGINT NOT NULL,
    updated_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (game_id, period, player_id)
);
CREATE INDEX IF NOT EXISTS idx_scores_board ON leaderboard_scores (game_id, period, score DESC);

CREATE TABLE IF NOT EXISTS dlq_events (
    id BIGSERIAL PRIMARY KEY,
    original_event JSONB NOT NULL,
    error_message TEXT,
    consumer_service VARCHAR(100),
    created_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX IF NOT EXISTS idx_service ON dlq_events (consumer_service);

-- S2's usage table. The key holds the time because a hypertable's must (S2-R20).
CREATE TABLE IF NOT EXISTS usage_events (
    request_id UUID NOT NULL,
    organization_id UUID NOT NULL,
    api_key_id UUID NOT NULL,
    endpoint TEXT NOT NULL,
    method TEXT NOT NULL,
    status_code INT NOT NULL,
    response_time_ms BIGINT NOT NULL,
    timestamp TIMESTAMPTZ NOT NULL,
    billable BOOLEAN NOT NULL,
    PRIMARY KEY (request_id, timestamp)
);
CREATE INDEX IF NOT EXISTS idx_usage_organization ON usage_events (organization_id, timestamp);

-- S2-R21, as a view wherever there is no TimescaleDB.
CREATE OR REPLACE VIEW usage_hourly AS
SELECT
    organization_id,
    date_trunc('hour', timestamp) AS hour,
    COUNT(*) AS total_requests,
    SUM(CASE WHEN billable THEN 1 ELSE 0 END) AS billable_requests,
    AVG(response_time_ms) AS avg_response_time
FROM usage_events
GROUP BY organization_id, hour;

-- How far each group got with each partition, and who may write it down: whoever knows the epoch.
CREATE TABLE IF NOT EXISTS sluice_offsets (
    group_id TEXT NOT NULL,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    cluster_id TEXT NOT NULL,
    topic_id TEXT NOT NULL,
    next_offset BIGINT,
    epoch BIGINT NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (group_id, topic, partition)
);
