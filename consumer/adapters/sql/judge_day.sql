-- Write down how the day stands against the objectives.
-- $1 day  $2 one member per objective: target, operator, actual, met
UPDATE rag_metrics_history SET slo_compliance = $2::jsonb WHERE date(date) = $1::date
