"""The ground floor: what every zone may use. Standard library only; it imports nothing of ours."""
