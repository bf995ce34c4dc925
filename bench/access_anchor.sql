-- The same estate as django-guardian keeps it: one row for each VM, action and holder. The rows on single VMs stand there for
-- everybody; those that grants on segments come to, only for the people who ask (%(people)s) and their teams, so that the
-- anchor has no more to read than Slipway. What is denied to one who asks is in no row of theirs.
SET session_replication_role = replica;

TRUNCATE guardian_userobjectpermission, guardian_groupobjectpermission, access_user_groups RESTART IDENTITY;

INSERT INTO access_user_groups (user_id, group_id) SELECT user_id, team_id FROM access_membership;

CREATE TEMPORARY TABLE vm_permission ON COMMIT DROP AS
SELECT permission.id, permission.codename, permission.content_type_id, type.model
FROM auth_permission permission
JOIN django_content_type type ON type.id = permission.content_type_id
WHERE type.app_label = 'inventory' AND type.model IN ('vm', 'segment');

-- What is denied to those who ask, or to their teams.
CREATE TEMPORARY TABLE denied ON COMMIT DROP AS
WITH person AS (SELECT unnest(%(people)s::bigint[]) AS id),
row_ AS (
    SELECT user_id, content_object_id AS vm_id, NULL AS segment_id, permission_id, effect, expires_at
    FROM access_uservmpermission
    UNION ALL SELECT user_id, NULL, content_object_id, permission_id, effect, expires_at FROM access_usersegmentpermission
    UNION ALL
    SELECT user_id, content_object_id, NULL, permission_id, effect, expires_at
    FROM access_teamvmpermission JOIN access_membership ON team_id = group_id
    UNION ALL
    SELECT user_id, NULL, content_object_id, permission_id, effect, expires_at
    FROM access_teamsegmentpermission JOIN access_membership ON team_id = group_id
)
SELECT DISTINCT row_.user_id, vm.id AS vm_id, vm_permission.codename
FROM row_
JOIN person ON person.id = row_.user_id
JOIN vm_permission ON vm_permission.id = row_.permission_id
JOIN inventory_vm vm ON vm.id = row_.vm_id OR vm.segment_id = row_.segment_id
WHERE row_.effect = 'deny' AND (row_.expires_at IS NULL OR row_.expires_at > now());

INSERT INTO guardian_userobjectpermission (user_id, permission_id, content_type_id, object_pk)
WITH live AS (
    SELECT user_id, permission_id, content_object_id AS vm_id FROM access_uservmpermission
    WHERE effect = 'allow' AND (expires_at IS NULL OR expires_at > now())
    UNION
    SELECT row_.user_id, of_vm.id, vm.id
    FROM access_usersegmentpermission row_
    JOIN vm_permission of_segment ON of_segment.id = row_.permission_id
    JOIN vm_permission of_vm ON of_vm.codename = of_segment.codename AND of_vm.model = 'vm'
    JOIN inventory_vm vm ON vm.segment_id = row_.content_object_id
    WHERE row_.effect = 'allow' AND row_.user_id = ANY(%(people)s)
)
SELECT live.user_id, live.permission_id, vm_permission.content_type_id, live.vm_id
FROM live
JOIN vm_permission ON vm_permission.id = live.permission_id
WHERE NOT EXISTS (
    SELECT 1 FROM denied
    WHERE denied.user_id = live.user_id AND denied.vm_id = live.vm_id AND denied.codename IN (vm_permission.codename, 'view')
);

INSERT INTO guardian_groupobjectpermission (group_id, permission_id, content_type_id, object_pk)
WITH live AS (
    SELECT group_id, permission_id, content_object_id AS vm_id FROM access_teamvmpermission
    WHERE effect = 'allow' AND (expires_at IS NULL OR expires_at > now())
    UNION
    SELECT row_.group_id, of_vm.id, vm.id
    FROM access_teamsegmentpermission row_
    JOIN vm_permission of_segment ON of_segment.id = row_.permission_id
    JOIN vm_permission of_vm ON of_vm.codename = of_segment.codename AND of_vm.model = 'vm'
    JOIN inventory_vm vm ON vm.segment_id = row_.content_object_id
    WHERE row_.effect = 'allow'
    AND row_.group_id IN (SELECT team_id FROM access_membership WHERE user_id = ANY(%(people)s))
)
SELECT live.group_id, live.permission_id, vm_permission.content_type_id, live.vm_id
FROM live
JOIN vm_permission ON vm_permission.id = live.permission_id
WHERE NOT EXISTS (
    SELECT 1 FROM denied
    JOIN access_membership ON access_membership.user_id = denied.user_id
    WHERE access_membership.team_id = live.group_id AND denied.vm_id = live.vm_id
    AND denied.codename IN (vm_permission.codename, 'view')
);

SET session_replication_role = origin;
