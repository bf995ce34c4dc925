"""The triggers made anew: what a sealed `audit.archived` event covers can be removed, and nothing else."""

from django.db import migrations

from audit import triggers


def renew(apps, schema_editor):
    vendor = schema_editor.connection.vendor
    for statement in [*triggers.removal(vendor), *triggers.creation(vendor)]:
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("audit", "0003_indexes_of_the_auditors_list")]

    operations = [migrations.RunPython(renew, migrations.RunPython.noop)]
