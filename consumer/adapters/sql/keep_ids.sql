-- Whether ids are kept apart, as they are where ai_dialogue_log is partitioned and no index can keep them unique. If so,
-- this transaction keeps them itself, many at once, and the triggers that do so for other writers leave its rows alone.
SELECT set_config('ragledger.keeps_ids', 'on', true) AS kept
FROM pg_trigger
WHERE tgrelid = to_regclass('ai_dialogue_log') AND tgname = 'keep_dialogue_id_on_insert'
