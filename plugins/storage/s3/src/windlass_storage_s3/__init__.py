"""Objects in Amazon S3 and in S3-compatible stores."""
