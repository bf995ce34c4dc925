-- An estate of %(vms)s VMs in a hundred segments, with 200 people in 50 teams and twenty permission rows for each VM.
-- Hosts, segments and roles are there. A tenth of a person's sight comes from their teams' segments, the rest from grants on
-- single VMs; some grants deny, some have ended, some will end. References need no check: all are made here.
SET session_replication_role = replica;

TRUNCATE inventory_vm, access_user, auth_group RESTART IDENTITY CASCADE;

INSERT INTO inventory_vm (
    uuid, name, segment_id, host_id, created_at, power_state, state_reason, is_split, memory_mib, vcpus, observed_at,
    title, description, virt_type, machine, autostart, persistent, agent_channel, agent_connected, disks
)
SELECT
    md5('vm' || n)::uuid, 'segment-' || n %% 100 || '-vm-' || n, CASE WHEN n %% 20 > 0 THEN 1 + n %% 100 END, 1 + n %% 20,
    now(), (ARRAY['running', 'running', 'running', 'shut_off'])[1 + n / 7 %% 4], '', false, 512 << (n %% 5)::int,
    1 + n %% 8, now(), '', '', 'kvm', 'pc-q35-7.2', true, true, true, true, '[]'
FROM generate_series(1, %(vms)s) n;

INSERT INTO access_user (
    password, is_superuser, username, first_name, last_name, is_staff, is_active, date_joined, email
)
SELECT '!', false, 'person-' || n, '', '', false, true, now(), '' FROM generate_series(1, 200) n;
INSERT INTO auth_group (name) SELECT 'team-' || n FROM generate_series(1, 50) n;
INSERT INTO access_team (group_ptr_id, description) SELECT id, '' FROM auth_group;
INSERT INTO access_membership (user_id, team_id, is_lead, created_at)
SELECT n, team, false, now()
FROM generate_series(1, 200) n, LATERAL (VALUES (1 + n %% 50), (1 + (7 * n + 3) %% 50)) teams (team);

-- Each team works six segments and is denied one; each person sees one more. Few hold something on everything.
INSERT INTO access_grant (team_id, user_id, segment_id, everything, role_id, effect, reason, created_at)
SELECT given.team, given.person, given.segment, given.segment IS NULL, role.id, given.effect, 'bench', now()
FROM (
    SELECT n AS team, NULL::int AS person, 1 + (6 * n + k) %% 100 AS segment, 'operator' AS slug, 'allow' AS effect
    FROM generate_series(1, 50) n, generate_series(0, 5) k
    UNION ALL SELECT n, NULL, 1 + (6 * n + 50) %% 100, 'viewer', 'deny' FROM generate_series(1, 50) n
    UNION ALL SELECT NULL, n, 1 + 13 * n %% 100, 'viewer', 'allow' FROM generate_series(1, 200) n
    UNION ALL SELECT NULL, n, NULL, 'platform-operator', 'allow' FROM generate_series(196, 198) n
    UNION ALL SELECT NULL, n, NULL, 'auditor', 'allow' FROM generate_series(199, 200) n
) given
JOIN access_role role ON role.slug = given.slug;

INSERT INTO access_grant (team_id, user_id, vm_id, everything, role_id, effect, expires_at, reason, created_at)
SELECT
    CASE WHEN n %% 5 < 2 THEN 1 + n / 5 * 17 %% 50 END, CASE WHEN n %% 5 >= 2 THEN 1 + n / 5 * 31 %% 200 END,
    1 + (hashint8(n)::bigint & 2147483647) %% %(vms)s, false, role.id, CASE WHEN n %% 97 = 0 THEN 'deny' ELSE 'allow' END,
    CASE WHEN n %% 19 = 0 THEN now() - interval '1 day' WHEN n %% 23 = 0 THEN now() + interval '30 days' END, 'bench', now()
FROM generate_series(1, %(vms)s * 26 / 10) n
JOIN access_role role
    ON role.slug = (ARRAY['operator', 'maintainer', 'owner', 'maintainer', 'operator'])[1 + n / 1000 %% 5];

-- The permission rows, as `access.services.grants` writes them.
CREATE TEMPORARY TABLE row_ ON COMMIT DROP AS
SELECT grant_.*, permission.id AS permission_id, permission.codename
FROM access_grant grant_
JOIN access_role role ON role.id = grant_.role_id
CROSS JOIN LATERAL jsonb_array_elements_text(role.actions) action
JOIN django_content_type type
    ON type.app_label = 'inventory' AND type.model = CASE WHEN grant_.segment_id IS NULL THEN 'vm' ELSE 'segment' END
JOIN auth_permission permission ON permission.codename = action AND permission.content_type_id = type.id;

INSERT INTO access_uservmpermission (user_id, permission_id, content_object_id, grant_id, effect, expires_at)
SELECT user_id, permission_id, vm_id, id, effect, expires_at FROM row_ WHERE user_id > 0 AND vm_id > 0;
INSERT INTO access_teamvmpermission (group_id, permission_id, content_object_id, grant_id, effect, expires_at)
SELECT team_id, permission_id, vm_id, id, effect, expires_at FROM row_ WHERE team_id > 0 AND vm_id > 0;
INSERT INTO access_usersegmentpermission (user_id, permission_id, content_object_id, grant_id, effect, expires_at)
SELECT user_id, permission_id, segment_id, id, effect, expires_at FROM row_ WHERE user_id > 0 AND segment_id > 0;
INSERT INTO access_teamsegmentpermission (group_id, permission_id, content_object_id, grant_id, effect, expires_at)
SELECT team_id, permission_id, segment_id, id, effect, expires_at FROM row_ WHERE team_id > 0 AND segment_id > 0;
INSERT INTO access_everythingpermission (user_id, action, grant_id, effect, expires_at)
SELECT user_id, codename, id, effect, expires_at FROM row_ WHERE everything;

SET session_replication_role = origin;
