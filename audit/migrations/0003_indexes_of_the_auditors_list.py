"""One index for each filter of the auditors' list, newest first. On SQLite too, no table is made anew for it."""

from django.db import migrations, models

INDEXES = {
    "audit_event_who": ["actor_name", "id"],
    "audit_event_behalf": ["on_behalf_of_id", "id"],
    "audit_event_noun": ["object_type", "id"],
    "audit_event_what": ["object_name", "id"],
    "audit_event_where": ["segment_name", "id"],
    "audit_event_request": ["request_id", "id"],
    "audit_event_outcome": ["outcome", "id"],
    "audit_event_via": ["via", "id"],
}


class Migration(migrations.Migration):
    dependencies = [("audit", "0002_append_only_triggers")]

    operations = [
        migrations.AddIndex(model_name="auditevent", index=models.Index(fields=fields, name=name))
        for name, fields in INDEXES.items()
    ]
