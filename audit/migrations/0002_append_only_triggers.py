"""From here on the database itself refuses to change or remove a row of the record."""

from django.db import migrations

from audit import triggers


def create(apps, schema_editor):
    for statement in triggers.creation(schema_editor.connection.vendor):
        schema_editor.execute(statement, params=None)


def remove(apps, schema_editor):
    for statement in triggers.removal(schema_editor.connection.vendor):
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]

    operations = [migrations.RunPython(create, remove)]
