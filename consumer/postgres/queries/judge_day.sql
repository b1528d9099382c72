-- Store the verdicts of a stored day on the objectives.
-- $1 day  $2 one member per objective
UPDATE rag_metrics_history SET slo_compliance = $2::jsonb WHERE date(date) = $1::text::date
