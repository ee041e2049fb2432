"""All closed forms, by name."""

from workloads.closed_forms import ltp, selftests
from workloads.closed_forms.telling import Form

FORMS: dict[str, Form] = {form.name: form for form in (*ltp.FORMS, *selftests.FORMS)}
