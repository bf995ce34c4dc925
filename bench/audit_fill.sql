-- A record of events as an estate of 20,000 VMs and 500 people would leave it, all columns filled.
INSERT INTO audit_auditevent (
    version, at, action, outcome, actor_kind, actor_id, actor_name, on_behalf_of_id, on_behalf_of_name, via, token_id,
    source_address, object_type, object_id, object_uuid, object_name, segment_id, segment_name, job_id, request_id,
    reason, before, after, detail
)
SELECT
    1,
    now() - interval '1 day' + n * interval '10 milliseconds',
    (ARRAY['vm.changed', 'job.submitted', 'effect.intent', 'effect.outcome', 'job.succeeded'])[n %% 5 + 1],
    (ARRAY['ok', 'ok', 'intent', 'ok', 'ok'])[n %% 5 + 1],
    'user', (n %% 500)::text, 'person-' || n %% 500, (n %% 40)::text, 'lead-' || n %% 40,
    (ARRAY['web', 'api', 'job'])[n %% 3 + 1],
    (n %% 90)::text, '192.0.2.' || n %% 250,
    'vm', (n %% 20000)::text, md5('vm' || n %% 20000)::uuid::text, 'accounting-web-' || n %% 20000,
    (n %% 100)::text, 'segment-' || n %% 100, md5('job' || n / 4)::uuid::text, md5('request' || n)::uuid::text,
    'Ticket ' || n || ', as agreed with the owner',
    '{"memory_mib":' || 512 + n %% 7 || ',"power_state":"running","title":"before ' || n || '"}',
    '{"memory_mib":' || 1024 + n %% 7 || ',"power_state":"running","title":"after ' || n || '"}',
    '{"call":"domainSetMemory","host":"node-' || n %% 50 || '","parameters":{"flags":"live, config"},"step":"change"}'
FROM generate_series(1, %s) n
