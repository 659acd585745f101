"""Models loaded, trained and saved, dense and packed."""
