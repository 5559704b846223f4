"""Categories of the synthetic marketplace, and the tags that belong to each."""

from __future__ import annotations

CATEGORIES: dict[str, tuple[str, ...]] = {
    "garden": ("mowing", "hedges", "planting", "trees", "watering", "paving"),
    "moving": ("van", "boxes", "piano", "storage", "lifting", "assembly"),
    "cleaning": ("windows", "kitchen", "carpets", "office", "ironing", "laundry"),
    "repairs": ("plumbing", "electricity", "bicycles", "furniture", "roof", "heating"),
    "teaching": ("maths", "languages", "piano-lessons", "coding", "reading", "chess"),
    "pets": ("dogs", "cats", "walking", "grooming", "boarding", "training"),
    "care": ("children", "seniors", "nights", "cooking-help", "errands", "company"),
    "events": ("catering", "music", "photos", "flowers", "tents", "waiting-tables"),
    "computers": ("websites", "networks", "backups", "phones", "printers", "data"),
    "design": ("logos", "posters", "video", "drawing", "interiors", "clothes"),
    "sport": ("running", "yoga", "swimming", "climbing", "tennis", "strength"),
    "driving": ("airport", "deliveries", "groceries", "long-distance", "night-rides", "trailers"),
    "building": ("painting", "tiles", "walls", "floors", "insulation", "windows-fitting"),
    "writing": ("letters", "translation", "editing", "applications", "blogs", "research"),
    "beauty": ("hair", "nails", "make-up", "massage", "skin", "tattoos"),
    "cooking": ("baking", "vegan", "barbecue", "asian", "italian", "diets"),
}
