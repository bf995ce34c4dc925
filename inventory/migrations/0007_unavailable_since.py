from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("inventory", "0006_availability")]

    operations = [
        migrations.AddField(
            model_name="host",
            name="unavailable_since",
            field=models.DateTimeField(
                blank=True,
                help_text="When it ceased to be active: what drains moved away since then may come home.",
                null=True,
            ),
        ),
    ]
