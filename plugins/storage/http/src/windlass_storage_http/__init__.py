"""Files behind http and https, for reading."""
