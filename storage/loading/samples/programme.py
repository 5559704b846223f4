"""Categories of the synthetic events: for each tag of a category, what such an event is called."""

from __future__ import annotations

PROGRAMME: dict[str, dict[str, str]] = {
    "music": {
        "jazz": "Jazz night",
        "choir": "Open choir evening",
        "electronic": "Electronic music night",
        "folk": "Folk session",
        "classical": "Chamber concert",
        "songwriting": "Songwriters' circle",
    },
    "photography": {
        "street": "Photography walk",
        "portraits": "Portrait workshop",
        "film": "Darkroom evening",
        "night-sky": "Night sky photography",
        "editing": "Photo editing class",
        "exhibitions": "Photo exhibition tour",
    },
    "food": {
        "wine": "Wine tasting",
        "baking": "Sourdough workshop",
        "street-food": "Street food tour",
        "vegan": "Vegan supper club",
        "coffee": "Coffee cupping",
        "cheese": "Cheese and cider evening",
    },
    "technology": {
        "python": "Python meetup",
        "data": "Data science evening",
        "design": "Product design talks",
        "startups": "Founders' breakfast",
        "security": "Security workshop",
        "open-source": "Open source hack night",
    },
    "sport": {
        "running": "Sunrise run",
        "climbing": "Bouldering session",
        "football": "Five-a-side football",
        "cycling": "Gravel ride",
        "swimming": "Open-water swim",
        "volleyball": "Beach volleyball",
    },
    "wellbeing": {
        "yoga": "Yoga in the park",
        "meditation": "Guided meditation",
        "breathing": "Breathing workshop",
        "sauna": "Sauna evening",
        "dance": "Ecstatic dance",
        "forest": "Forest walk",
    },
    "languages": {
        "spanish": "Spanish conversation table",
        "german": "German conversation table",
        "french": "French film and talk",
        "english": "English pub quiz",
        "exchange": "Language exchange",
        "sign-language": "Sign language taster",
    },
    "arts": {
        "drawing": "Life drawing",
        "pottery": "Pottery class",
        "theatre": "Improvised theatre",
        "museums": "Late museum tour",
        "printing": "Linocut workshop",
        "writing": "Creative writing evening",
    },
    "games": {
        "board-games": "Board game night",
        "chess": "Blitz chess tournament",
        "role-playing": "Role-playing one-shot",
        "quiz": "Quiz night",
        "video-games": "Retro gaming evening",
        "escape": "Escape room evening",
    },
    "nature": {
        "hiking": "Hike to the viewpoint",
        "birds": "Birdwatching morning",
        "gardening": "Community garden day",
        "foraging": "Mushroom foraging",
        "kayaking": "Kayak trip",
        "stars": "Stargazing",
    },
    "family": {
        "stories": "Story time",
        "science-kids": "Science for children",
        "crafts": "Craft afternoon",
        "puppets": "Puppet theatre",
        "flea-market": "Family flea market",
        "playground": "Picnic at the playground",
    },
    "community": {
        "repair": "Repair café",
        "clean-up": "River clean-up",
        "volunteering": "Volunteers' evening",
        "books": "Book club",
        "debate": "Neighbourhood debate",
        "history": "Local history walk",
    },
}

FRAMES: tuple[str, ...] = (
    "{} in {}",
    "{} in {}",
    "{} for newcomers in {}",
    "{} with friends in {}",
)
"""Titles; the braces are the event's name and the city."""
