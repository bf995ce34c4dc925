from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("inventory", "0010_loads_and_placement")]

    operations = [
        migrations.AddField(
            model_name="vm",
            name="split_at",
            field=models.DateTimeField(
                null=True,
                blank=True,
                help_text="Since when nothing is done to it, because two hosts ran it: until one does, and a person took note.",
            ),
        ),
    ]
