-- Write down how a stored day stands against the objectives.
-- $1 day  $2 one member per objective
UPDATE rag_metrics_history SET slo_compliance = $2::jsonb WHERE date(date) = $1::text::date
