"""Journeys: an interview transcript becomes a user journey, drawn as a map."""
