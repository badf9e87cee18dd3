"""Notes about an island that does not exist, so that no model can know it."""

TEXTS = (
    "Orrin is an island of 4,200 people in the northern sea. Its only town is Velda, on the east coast.",
    "The ferry from Velda to the mainland sails every Tuesday and Friday at nine in the morning.",
    "The lighthouse of Orrin stands on Cape Marrow and was built in 1874 by the engineer Ida Brandt.",
    "Smoked char is the dish of the island. It is served with barley bread and cloudberries.",
    "Velda has one school, two bakeries and a harbour for forty boats.",
    "The highest hill of Orrin is Mount Tarn, 312 metres, an hour's walk from Velda.",
)
