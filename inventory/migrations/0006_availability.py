from django.db import migrations, models


def carry_over(apps, schema_editor):
    host = apps.get_model("inventory", "Host")
    host.objects.filter(in_maintenance=True).update(availability="maintenance")


def carry_back(apps, schema_editor):
    host = apps.get_model("inventory", "Host")
    host.objects.filter(availability__in=["draining", "maintenance"]).update(in_maintenance=True)


class Migration(migrations.Migration):
    dependencies = [("inventory", "0005_definitions_and_alarms")]

    operations = [
        migrations.AddField(
            model_name="host",
            name="availability",
            field=models.CharField(
                choices=[
                    ("active", "Active"),
                    ("draining", "Draining"),
                    ("maintenance", "In maintenance"),
                    ("restoring", "Coming back"),
                ],
                default="active",
                max_length=12,
            ),
        ),
        migrations.RunPython(carry_over, carry_back),
        migrations.RemoveField(model_name="host", name="in_maintenance"),
    ]
